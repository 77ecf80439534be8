package random

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/goal/model"
)

// Packet makes a packet that the VM behind a port of h may send: mostly its own, addressed to where rules and routes change
// their mind; now and then forged, broken, or ARP, DHCP and neighbour discovery in right and wrong forms.
func Packet(r *rand.Rand, h *goal.Host, port uint32) model.Packet {
	g := &sender{r: r, h: h}
	for i := range h.Ports {
		if h.Ports[i].Index == port {
			g.port = &h.Ports[i]
		}
	}
	for i := range h.VNets {
		if g.port != nil && h.VNets[i].VNI == g.port.VNI {
			g.vnet = &h.VNets[i]
		}
	}
	var p model.Packet
	switch r.IntN(16) {
	case 0:
		p = g.arp()
	case 1:
		p = g.discovery()
	case 2:
		p = g.dhcp()
	case 3:
		p = g.platform()
	case 4, 5, 6, 7, 8:
		p = g.aimed()
	default:
		p = g.traffic(g.destination())
	}
	if r.IntN(8) == 0 {
		g.break1(&p)
	}
	return p
}

// platform asks the host's services as they answer: names, metadata, the wire server.
func (g *sender) platform() model.Packet {
	to := []netip.Addr{model.WireServer, model.Metadata}[g.r.IntN(2)]
	if g.port == nil {
		return g.traffic(to)
	}
	if to == model.WireServer && g.r.IntN(3) == 0 {
		return model.Open(g.port, []uint8{goal.UDP, goal.TCP}[g.r.IntN(2)], to, uint16(g.r.Uint32()), 53)
	}
	return model.Open(g.port, goal.TCP, to, uint16(g.r.Uint32()), 80)
}

// Overlay makes an inner packet as it may arrive at h in VXLAN, with the VNI and the outer source: from a neighbour, or forged.
func Overlay(r *rand.Rand, h *goal.Host) (vni uint32, outer netip.Addr, p model.Packet) {
	n := &h.VNets[r.IntN(len(h.VNets))]
	g := &sender{r: r, h: h, vnet: n, port: &goal.Port{MAC: model.Gateway}}
	from := n.Endpoints[r.IntN(len(n.Endpoints))]
	g.port.Addresses = []goal.Address{{IP: from.IP, Subnet: netip.PrefixFrom(from.IP, from.IP.BitLen()-8).Masked()}}
	to := g.destination()
	if local := h.Ports[r.IntN(len(h.Ports))]; local.VNI == n.VNI && r.IntN(2) == 0 {
		to = local.Addresses[r.IntN(len(local.Addresses))].IP
	}
	p = g.traffic(to)
	if r.IntN(8) == 0 {
		g.break1(&p)
	}
	vni, outer = n.VNI, from.Host
	switch r.IntN(16) {
	case 0:
		vni ^= 1 << r.IntN(24)
	case 1:
		outer = n.Endpoints[r.IntN(len(n.Endpoints))].Host
	case 2:
		outer = randomAddr(r.Uint32())
	}
	return vni, outer, p
}

// Frame is a packet's bytes, now and then with IPv4 options or IPv6 extension headers, cut short or with one byte changed: model.Parse
// says what it is then.
func Frame(r *rand.Rand, p model.Packet) []byte {
	f := p.Frame()
	switch r.IntN(16) {
	case 0:
		f = f[:14+r.IntN(max(1, len(f)-14+1))]
	case 1:
		f[12+r.IntN(len(f)-12)] ^= 1 << r.IntN(8)
	case 2:
		f = dress(r, f)
	}
	return f
}

// sender makes packets of one port.
type sender struct {
	r    *rand.Rand
	h    *goal.Host
	port *goal.Port
	vnet *goal.VNet
}

// own is an address of the port, of the family of like when it has one.
func (g *sender) own(like netip.Addr) netip.Addr {
	if g.port == nil {
		return netip.AddrFrom4([4]byte{10, 0, 0, 4})
	}
	var same []netip.Addr
	for _, a := range g.port.Addresses {
		if a.IP.Is4() == like.Is4() {
			same = append(same, a.IP)
		}
	}
	if len(same) == 0 {
		return g.port.Addresses[0].IP
	}
	return same[g.r.IntN(len(same))]
}

func (g *sender) mac() goal.MAC {
	if g.port == nil {
		return goal.MAC{2}
	}
	return g.port.MAC
}

// traffic makes TCP, UDP, ICMP, ESP, AH, or rarely something else.
func (g *sender) traffic(dst netip.Addr) model.Packet {
	r := g.r
	p := model.Packet{EtherType: model.EtherIPv4, SrcMAC: g.mac(), DstMAC: model.Gateway, Src: g.own(dst), Dst: dst, HopLimit: 64}
	if p.Src.Is4() != dst.Is4() { // no address of that family
		p.Dst = g.neighbour(p.Src)
	}
	if !p.Src.Is4() {
		p.EtherType = model.EtherIPv6
	}
	p.SrcPort, p.DstPort = g.portNumber(), g.portNumber()
	if dst == model.WireServer && r.IntN(2) == 0 {
		p.DstPort = 53
	}
	switch r.IntN(16) {
	case 0, 1, 2, 3, 4, 5, 6:
		p.Protocol = goal.TCP
		flags := []uint8{model.ACK, model.SYN | model.ACK, model.RST, model.FIN | model.ACK, 0, 0xff, model.SYN | model.FIN, uint8(r.Uint32())}
		p.TCPFlags = model.SYN
		if r.IntN(4) == 0 {
			p.TCPFlags = flags[r.IntN(len(flags))]
		}
	case 7, 8, 9, 10:
		p.Protocol = goal.UDP
	case 11, 12:
		g.icmp(&p)
	case 13:
		p.Protocol = goal.ESP
	case 14:
		p.Protocol = goal.AH
	default:
		p.Protocol = uint8(r.Uint32())
		if isHeader(&p, p.Protocol) {
			p.Protocol = 59
		}
	}
	if p.Protocol != goal.TCP && p.Protocol != goal.UDP {
		p.SrcPort, p.DstPort = 0, 0
	}
	p.Len = r.IntN(200)
	if r.IntN(8) == 0 {
		p.Len = 1400 + r.IntN(250)
	}
	p.MayFragment = p.Src.Is4() && r.IntN(4) == 0
	return p
}

// isHeader says whether of p's family this is no protocol but another header.
func isHeader(p *model.Packet, protocol uint8) bool {
	return !p.Src.Is4() && slices.Contains([]uint8{0, 43, 44, 60}, protocol)
}

func (g *sender) icmp(p *model.Packet) {
	request, reply := model.EchoRequest, model.EchoReply
	p.Protocol = goal.ICMP
	if !p.Src.Is4() {
		p.Protocol, request, reply = goal.ICMPv6, model.EchoRequest6, model.EchoReply6
	}
	p.ICMPType, p.ICMPID = request, uint16(g.r.IntN(4))
	switch g.r.IntN(8) {
	case 0, 1:
		p.ICMPType = reply
	case 2:
		p.ICMPType, p.ICMPID = uint8(g.r.Uint32()), 0
	case 3, 4:
		p.ICMPType, p.ICMPID = g.errorKind(p.Src.Is4()), 0
	}
	if p.IsError() {
		p.Quote = g.quote(p)
	}
}

func (g *sender) errorKind(v4 bool) uint8 {
	if v4 {
		return []uint8{model.Unreachable, model.SourceQuench, model.TimeExceeded, model.BadParameter}[g.r.IntN(4)]
	}
	return []uint8{model.Unreachable6, model.TooBig6, model.TimeExceeded6, model.BadParameter6}[g.r.IntN(4)]
}

// quote is what an error from p.Src to p.Dst may tell, mostly of a packet that could have gone the other way.
func (g *sender) quote(p *model.Packet) model.Quote {
	r := g.r
	q := model.Quote{Src: p.Dst, Dst: p.Src, Protocol: []uint8{goal.TCP, goal.UDP, p.Protocol, goal.ESP, goal.AH, uint8(r.Uint32())}[r.IntN(6)]}
	if isHeader(p, q.Protocol) {
		q.Protocol = 59
	}
	switch q.Protocol {
	case goal.TCP, goal.UDP:
		q.SrcPort, q.DstPort = g.portNumber(), g.portNumber()
	case p.Protocol:
		q.ICMPType, q.ICMPID = model.EchoRequest, uint16(r.IntN(4))
		if !p.Src.Is4() {
			q.ICMPType = model.EchoRequest6
		}
		if r.IntN(3) == 0 {
			q.ICMPType, q.ICMPID = g.errorKind(p.Src.Is4()), 0
		}
	}
	switch r.IntN(8) {
	case 0:
		q.Src = step(q.Src, 1)
	case 1:
		q.Dst = step(q.Dst, 1)
	case 2:
		q.Src, q.Dst = q.Dst, q.Src
	}
	return q
}

// Error is an error that the receiver of p, whose NIC has the given MAC, sends about it: true, or quoted with one thing changed.
func Error(r *rand.Rand, p model.Packet, from goal.MAC) model.Packet {
	g := &sender{r: r}
	e := p.Error(from, g.errorKind(p.Src.Is4()), uint8(r.IntN(16)))
	q := &e.Quote
	switch r.IntN(16) {
	case 0:
		q.Src = step(q.Src, 1)
	case 1:
		q.Dst = step(q.Dst, 1)
	case 2:
		q.Src, q.Dst = q.Dst, q.Src
	case 3:
		q.SrcPort, q.DstPort = q.DstPort, q.SrcPort
	case 4:
		q.Protocol = goal.TCP + goal.UDP - q.Protocol
	case 5:
		e.Len = 60
	}
	if q.Protocol != goal.TCP && q.Protocol != goal.UDP {
		q.SrcPort, q.DstPort = 0, 0
	}
	return e
}
