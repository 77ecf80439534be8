package random

import (
	"net/netip"

	"ringfence/goal"
	"ringfence/goal/model"
)

// break1 does one thing to a packet that a guard must notice, or a random one that it may carry.
func (g *sender) break1(p *model.Packet) {
	r := g.r
	ip := p.EtherType == model.EtherIPv4 || p.EtherType == model.EtherIPv6
	switch r.IntN(13) {
	case 0:
		p.VLAN = true
	case 1:
		p.SrcMAC[r.IntN(6)] ^= 1 << r.IntN(8)
	case 2:
		p.EtherType = []uint16{0x88cc, 0x0000, 0x8847, 0x86dc}[r.IntN(4)]
	case 3:
		p.Malformed = true
	case 4:
		p.Options = ip
	case 5:
		p.BadFragment = ip
	case 6:
		p.Short = true
	case 7: // what IPv6 counts as headers, and virtual networks as protocols that they do not carry
		if p.EtherType == model.EtherIPv6 {
			p.Protocol = []uint8{59, 135, 139, 140, 253, 254}[r.IntN(6)]
		}
	case 8, 9:
		p.Src = g.forged(p.Src)
	case 10:
		p.SrcPort = 65330
	case 11:
		if p.EtherType == model.EtherIPv4 {
			p.OptionBytes = 4 * (1 + r.IntN(10))
		} else if ip {
			p.OptionBytes = 8 * (1 + r.IntN(32))
		}
	case 12: // a fragment of a packet that nobody has seen the first of
		if ip {
			p.Fragment = model.Fragment{ID: r.Uint32N(65536), First: 8 * (1 + r.IntN(100)), Last: r.IntN(2) == 0}
			p.Fragment.Behind = p.Fragment.First + 8*(1+r.IntN(20))
			p.Short = false
			p.OptionBytes = 0
			if p.EtherType == model.EtherIPv6 {
				p.OptionBytes = 8
			}
		}
	}
}

// forged is a source that is not the port's but somebody's.
func (g *sender) forged(src netip.Addr) netip.Addr {
	if src.Is4() {
		return [...]netip.Addr{netip.IPv4Unspecified(), step(src, 1), model.WireServer, randomAddr(g.r.Uint32())}[g.r.IntN(4)]
	}
	if !src.IsValid() {
		return src
	}
	if g.r.IntN(2) == 0 && g.port != nil && len(g.port.Addresses) > 0 {
		return written6(g.port.Addresses[0].IP, g.r.IntN(2) == 0)
	}
	return [...]netip.Addr{netip.IPv6Unspecified(), step(src, 1), model.Router6, netip.MustParseAddr("fe80::1")}[g.r.IntN(4)]
}

func (g *sender) arp() model.Packet {
	r := g.r
	p := model.Packet{EtherType: model.EtherARP, SrcMAC: g.mac(), DstMAC: goal.MAC{255, 255, 255, 255, 255, 255}, ARPOp: 1, ARPSender: g.mac()}
	p.Src, p.Dst = g.own(netip.IPv4Unspecified()), g.destination()
	if !p.Src.Is4() {
		p.Src = netip.IPv4Unspecified()
	}
	if !p.Dst.Is4() {
		p.Dst = step(p.Src, r.IntN(3)-1)
	}
	switch r.IntN(10) {
	case 0:
		p.ARPOp = uint16(r.IntN(4))
	case 1:
		p.ARPSender[5] ^= 1
	case 2:
		p.Src = netip.IPv4Unspecified()
	case 3:
		p.Src = step(p.Src, 1)
	case 4:
		p.Dst = p.Src
	}
	return p
}

func (g *sender) discovery() model.Packet {
	r := g.r
	p := g.traffic(netip.IPv6Unspecified())
	p.EtherType, p.Protocol, p.HopLimit = model.EtherIPv6, goal.ICMPv6, 255
	p.SrcPort, p.DstPort, p.TCPFlags, p.ICMPID, p.Len = 0, 0, 0, 0, 0
	p.ICMPType = []uint8{model.NeighborSol, model.NeighborSol, model.NeighborSol, model.NeighborAdv, model.RouterSol, model.RouterAdv, model.Redirect6, 130, 131, 132, 143}[r.IntN(11)]
	linkLocal := netip.MustParseAddr("fe80::52:46ff:fe00:1")
	sources := []netip.Addr{linkLocal, netip.IPv6Unspecified(), netip.MustParseAddr("fd00:db8::99")}
	if own := g.own(linkLocal); !own.Is4() {
		sources = append(sources, own, own, own)
	}
	p.Src = sources[r.IntN(len(sources))]
	p.Dst = netip.MustParseAddr("ff02::1:ff00:4")
	if p.ICMPType == model.NeighborSol && r.IntN(8) > 0 {
		p.Target = []netip.Addr{model.Router6, linkLocal, step6(g.own(linkLocal)), own6(g.own(linkLocal))}[r.IntN(4)]
	}
	if r.IntN(8) == 0 {
		p.HopLimit = 64
	}
	return p
}

// own6 keeps an IPv6 address and makes one of an IPv4 address.
func own6(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }

func step6(a netip.Addr) netip.Addr { return step(own6(a), 1) }

func (g *sender) dhcp() model.Packet {
	r := g.r
	p := model.Packet{EtherType: model.EtherIPv4, SrcMAC: g.mac(), DstMAC: goal.MAC{255, 255, 255, 255, 255, 255}, Protocol: goal.UDP, HopLimit: 64}
	if r.IntN(3) > 0 {
		own := g.own(netip.IPv4Unspecified())
		p.Src, p.Dst, p.SrcPort, p.DstPort = netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), 68, 67
		if own.Is4() && r.IntN(2) == 0 {
			p.Src = own
			if r.IntN(3) == 0 {
				p.Src = step(own, 1) // its own before
			}
		}
		if r.IntN(3) == 0 {
			p.Dst = model.WireServer
		}
	} else {
		p.EtherType, p.SrcPort, p.DstPort = model.EtherIPv6, 546, 547
		p.Src, p.Dst = netip.MustParseAddr("fe80::52:46ff:fe00:1"), netip.MustParseAddr("ff02::1:2")
	}
	switch r.IntN(10) {
	case 0:
		p.SrcPort, p.DstPort = p.DstPort, p.SrcPort
	case 1:
		p.SrcPort = g.portNumber()
	case 2:
		p.DstPort = g.portNumber()
	case 3:
		p.Src = g.forged(p.Src)
	case 4:
		if d := g.destination(); d.Is4() == p.Src.Is4() {
			p.Dst = d
		}
	}
	return p
}
