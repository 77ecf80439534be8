package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
)

// An underlay of 1500 under machines of 1500: streams find the way's size, and every ping that may not be fragmented is delivered
// or answered, the answer naming the size that fits.
func TestPathMTU(t *testing.T) {
	w, a, b := pairOver(t, 2, 1500)
	for _, to := range []string{"10.0.0.5", "fd00:db8::5"} {
		header := 28
		if strings.Contains(to, ":") {
			header = 48
		}
		for size := 1440; size <= 1500; size += 1 + size/1460*20 {
			a.forgetMTU(t)
			out, err := a.run("ping", "-c", "1", "-W", "1", "-M", "do", "-s", fmt.Sprint(size-header), to)
			answer := strings.Contains(string(out), "Frag needed and DF set (mtu = 1450)") || strings.Contains(string(out), "Packet too big: mtu=1450")
			if fits := size <= 1450; fits != (err == nil) || !fits && !answer {
				t.Errorf("%d bytes to %s: %v\n%s", size, to, err, out)
			}
		}
		a.forgetMTU(t)
		transfer(t, a, b, to, 64<<20)
	}
	transfer(t, b, a, "10.0.0.4", 8<<20)
	w.balance()
	if t.Failed() {
		for _, h := range w.hosts {
			w.explain(h)
		}
	}
}

// forgetMTU makes a machine forget what it has been told about ways.
func (p *wirePort) forgetMTU(t *testing.T) {
	t.Helper()
	for _, family := range []string{"-4", "-6"} {
		if out, err := p.run("ip", family, "route", "flush", "cache"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// The answer's bytes: checksums, addresses, the size, and the beginning of the packet.
func TestTooBigBytes(t *testing.T) {
	inJudge(t, func(o *Options) { o.UnderlayMTU = 1500 }, func(j *judge) {
		goals := testGoals([]*wireHost{{underlay: netip.MustParseAddr("198.18.0.11")}, {underlay: netip.MustParseAddr("198.18.0.12")}}, 1)
		h := goals[0]
		j.load(h)
		for i, gateway := range []string{"10.0.0.1", "fe80::1234:5678:9abc"} {
			p := model.Open(&h.Ports[0], goal.TCP, goals[1].Ports[0].Addresses[i].IP, 1000, 80)
			p.Len = 14 + 1450
			v, _ := j.out(1, p.Frame())
			j.want("a packet that fits", v, model.Encap, 0)
			p.Len++
			p.SrcPort++
			frame := p.Frame()
			v, out := j.out(1, frame)
			j.want("a packet that does not fit", v, model.Answer, 0)
			e := model.Parse(out)
			header := map[bool]int{true: 20, false: 40}[i == 0]
			if e.Src.String() != gateway || e.Dst != p.Src || !e.IsError() || e.Short || e.Malformed || e.DstMAC != p.SrcMAC || e.SrcMAC != model.Gateway || e.HopLimit == 0 {
				t.Errorf("%+v", e)
			}
			if len(out) != 14+header+8+160 || string(out[14+header+8:]) != string(frame[14:14+160]) {
				t.Errorf("quotes %x", out)
			}
			if mtu := binary.BigEndian.Uint32(out[14+header+4:]); mtu != 1450 {
				t.Errorf("MTU %d", mtu)
			}
			if i == 0 && onesSum(out[14:34]) != 0xffff {
				t.Errorf("header checksum of %x", out)
			}
			sum := out[14+header:]
			if i == 1 {
				sum = append(append(append([]byte{}, out[22:54]...), 0, 0, 0, byte(len(sum)), 0, 0, 0, 58), sum...)
			}
			if onesSum(sum) != 0xffff {
				t.Errorf("checksum of %x", out)
			}
			p.MayFragment = i == 0
			if i == 0 {
				v, _ = j.out(1, p.Frame())
				j.want("what may be fragmented", v, model.Encap, 0)
			}
		}
	})
}

// onesSum adds 16-bit words in ones' complement.
func onesSum(b []byte) (s uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return s
}
