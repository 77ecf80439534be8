package random

import (
	"math/rand/v2"

	"ringfence/goal/model"
)

// Pieces are the fragments that an IP packet, made larger, may come in: whole and in order, or shuffled, lost, doubled, overlapping,
// cut where the transport header still is, or of two minds about where the packet ends. None when p is no packet that can be cut.
func Pieces(r *rand.Rand, p model.Packet) []model.Packet {
	ip := p.EtherType == model.EtherIPv4 || p.EtherType == model.EtherIPv6
	if !ip || p.VLAN || p.Malformed || p.Options || p.BadFragment || p.Short || p.Fragment != (model.Fragment{}) {
		return nil
	}
	var out []model.Packet
	id, size := uint32(r.IntN(4)), 8*(1+r.IntN(150))
	n := 2 + r.IntN(5)
	if r.IntN(4) == 0 {
		n, size = 40+r.IntN(30), 8
	}
	for at := 0; n > 0; n-- {
		q := p
		q.Len, q.OptionBytes = 0, 0
		if p.EtherType == model.EtherIPv6 {
			q.OptionBytes = 8 // the fragment header
		}
		here := size
		if at == 0 && r.IntN(16) > 0 {
			here = max(size, 64)
		}
		if n == 1 {
			here -= r.IntN(8)
		}
		q.Fragment = model.Fragment{ID: id, First: at, Behind: at + here, Last: n == 1}
		at += here
		out = append(out, q)
	}
	return spoil(r, out)
}

// spoil does nothing to every other packet's fragments, and to the others' what networks and attackers do.
func spoil(r *rand.Rand, out []model.Packet) []model.Packet {
	later := out[1:]
	one := &later[r.IntN(len(later))]
	switch r.IntN(10) {
	case 0:
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	case 1, 2:
		r.Shuffle(len(later), func(i, j int) { later[i], later[j] = later[j], later[i] })
	case 3:
		out = append(out, out[r.IntN(len(out))])
		r.Shuffle(len(out)-1, func(i, j int) { out[i+1], out[j+1] = out[j+1], out[i+1] })
	case 4:
		one.Fragment.First -= 8
	case 5:
		one.Fragment.Behind += 8
	case 6:
		one.Fragment.Last = !one.Fragment.Last
	case 7: // every second one first: as many gaps as there are pieces
		var even, odd []model.Packet
		for i, p := range later {
			if i%2 == 0 {
				odd = append(odd, p)
			} else {
				even = append(even, p)
			}
		}
		out = append(append(out[:1:1], even...), odd...)
	}
	return out
}
