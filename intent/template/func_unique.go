package template

import (
	"encoding/base32"
	"encoding/binary"
	"math/bits"
	"strings"
)

// unique gives 13 characters that depend on all arguments, the same that Azure gives: a 64-bit hash of the Murmur family in
// base 32. Names made with it therefore stay what they were on Azure.
func unique(_ *scope, a *arguments) (any, error) {
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], hash64([]byte(strings.Join(v, "-"))))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:13], nil
}

func hash64(data []byte) uint64 {
	const c1, c2 = 0xab0e9789, 0x239b961b
	first := func(k uint32) uint32 { return bits.RotateLeft32(k*c2, 15) * c1 }
	second := func(k uint32) uint32 { return bits.RotateLeft32(k*c1, 17) * c2 }
	size := uint32(len(data))
	var h1, h2 uint32
	for ; len(data) >= 8; data = data[8:] {
		h1 ^= first(binary.LittleEndian.Uint32(data))
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= second(binary.LittleEndian.Uint32(data[4:]))
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	if len(data) > 0 {
		var tail [8]byte
		copy(tail[:], data)
		h1 ^= first(binary.LittleEndian.Uint32(tail[:]))
		if len(data) > 4 {
			h2 ^= second(binary.LittleEndian.Uint32(tail[4:]))
		}
	}
	h2 ^= size
	h1 = (h1 ^ size) + h2
	h2 += h1
	h1, h2 = finish(h1), finish(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}

func finish(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
