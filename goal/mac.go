package goal

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// ParseMAC reads "02:52:46:00:00:01".
func ParseMAC(s string) (MAC, error) {
	var m MAC
	err := m.UnmarshalText([]byte(s))
	return m, err
}

func (m MAC) String() string {
	b, _ := m.MarshalText()
	return string(b)
}

// MarshalText writes six lower-case pairs of hexadecimal digits with colons.
func (m MAC) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]), nil
}

// UnmarshalText reads what MarshalText writes, in either case.
func (m *MAC) UnmarshalText(b []byte) error {
	parts := strings.Split(string(b), ":")
	if len(parts) != len(m) {
		return fmt.Errorf("parse MAC %q: expected six pairs of hexadecimal digits", b)
	}
	for i, p := range parts {
		v, err := hex.DecodeString(p)
		if err != nil || len(v) != 1 {
			return fmt.Errorf("parse MAC %q: expected six pairs of hexadecimal digits", b)
		}
		m[i] = v[0]
	}
	return nil
}
