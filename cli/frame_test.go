package cli

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// Frames of each kind, whole and cut short.
func TestReadFrame(t *testing.T) {
	ether := "123456789abc020000000001"
	for text, want := range map[string]frame{
		ether + "0806" + "0001080006040001020000000001" + "0a000004" + "000000000000" + "0a000005":                                 {name: "arp", src: netip.MustParseAddr("10.0.0.4"), dst: netip.MustParseAddr("10.0.0.5")},
		ether + "0800" + "4500001c0000400040110000" + "0a000004" + "0a000005" + "270f1b58":                                         {name: "udp", src: netip.MustParseAddr("10.0.0.4"), dst: netip.MustParseAddr("10.0.0.5"), sport: 9999, dport: 7000, hasPorts: true},
		ether + "0800" + "4600001c0000400040060000" + "0a000004" + "0a000005" + "01010101" + "270f1b58":                            {name: "tcp", src: netip.MustParseAddr("10.0.0.4"), dst: netip.MustParseAddr("10.0.0.5"), sport: 9999, dport: 7000, hasPorts: true},
		ether + "0800" + "4500001c0000000140110000" + "0a000004" + "0a000005" + "270f1b58":                                         {name: "udp", src: netip.MustParseAddr("10.0.0.4"), dst: netip.MustParseAddr("10.0.0.5")},
		ether + "86dd" + "6000000000083a40" + "fd000000000000000000000000000004" + "fd000000000000000000000000000005" + "80000000": {name: "icmp", src: netip.MustParseAddr("fd00::4"), dst: netip.MustParseAddr("fd00::5")},
		ether + "88cc": {name: "other"},
		"1234":         {},
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := readFrame(b); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	f := readFrame([]byte("\x12\x34\x56\x78\x9a\xbc\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x1c\x00\x00\x40\x00\x40\x11\x00\x00\x0a\x00\x00\x04\x0a\x00\x00\x05\x27\x0f\x1b\x58"))
	for _, c := range []struct {
		w    frameFilter
		want bool
	}{
		{frameFilter{}, true}, {frameFilter{port: 7000}, true}, {frameFilter{port: 7001}, false}, {frameFilter{protocol: "udp"}, true}, {frameFilter{protocol: "tcp"}, false},
		{frameFilter{address: netip.MustParseAddr("10.0.0.5")}, true}, {frameFilter{address: netip.MustParseAddr("10.0.0.6")}, false},
	} {
		if c.w.wants(f) != c.want {
			t.Errorf("%+v", c.w)
		}
	}
}

// Whatever a host sends, reading it ends.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x12\x34\x56\x78\x9a\xbc\x02\x00\x00\x00\x00\x01\x08\x00\x4f\x00\x00\x1c\x00\x00\x40\x00\x40\x11\x00\x00\x0a\x00\x00\x04\x0a\x00\x00\x05\x27"))
	f.Fuzz(func(t *testing.T, b []byte) { readFrame(b) })
}
