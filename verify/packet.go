package verify

import (
	"fmt"
	"net/netip"
	"strings"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/verify/space"
)

// Packet is a witness: one packet that opens a conversation, as security rules see it.
type Packet struct {
	Src, Dst         netip.Addr
	Protocol         uint8  // as on the wire: ICMP is 1 over IPv4 and 58 over IPv6
	SrcPort, DstPort uint16 // of TCP and UDP
	ICMPType         uint8  // of ICMP
	From, To         string // ARM ids of the NICs; "" outside virtual networks
}

// Frame is the witness as the VM behind the port sends it, to be judged by goal/model or the kernel's programs.
func (p Packet) Frame(from *goal.Port) model.Packet {
	q := model.Packet{EtherType: model.EtherIPv4, DstMAC: model.Gateway, Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, HopLimit: 64}
	if from != nil {
		q.SrcMAC = from.MAC
	}
	if !p.Src.Is4() {
		q.EtherType = model.EtherIPv6
	}
	switch p.Protocol {
	case goal.TCP:
		q.SrcPort, q.DstPort, q.TCPFlags = p.SrcPort, p.DstPort, model.SYN
	case goal.UDP:
		q.SrcPort, q.DstPort = p.SrcPort, p.DstPort
	case goal.ICMP, goal.ICMPv6:
		q.ICMPType, q.ICMPID = p.ICMPType, 1
	}
	return q
}

// Tuple is what goal/model.Match judges.
func (p Packet) Tuple() model.Tuple { return p.Frame(nil).Tuple() }

// String says the packet in one line: tcp 10.0.1.4:50000 > 10.0.2.4:1433.
func (p Packet) String() string {
	word := protocolWord(uint64(p.Protocol))
	switch p.Protocol {
	case goal.TCP, goal.UDP:
		return fmt.Sprintf("%s %s > %s", word, netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort))
	case goal.ICMP, goal.ICMPv6:
		return fmt.Sprintf("%s type %d %s > %s", word, p.ICMPType, p.Src, p.Dst)
	}
	return fmt.Sprintf("%s %s > %s", word, p.Src, p.Dst)
}

func protocolWord(n uint64) string {
	switch uint8(n) {
	case goal.TCP:
		return "tcp"
	case goal.UDP:
		return "udp"
	case goal.ICMP, goal.ICMPv6:
		return "icmp"
	case goal.ESP:
		return "esp"
	case goal.AH:
		return "ah"
	}
	return fmt.Sprintf("protocol %d", n)
}

// AddrRange is an inclusive range of addresses of one family.
type AddrRange struct{ From, To netip.Addr }

// String writes a single address, a prefix where the range is one, or FROM-TO.
func (r AddrRange) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	for bits := range r.From.BitLen() {
		if p, err := r.From.Prefix(bits); err == nil && p.Addr() == r.From && numberOf(r.To) == ofPrefix(p).hi {
			return p.String()
		}
	}
	return r.From.String() + "-" + r.To.String()
}

// Box is a set of packets: every combination of its parts. Answers are lists of boxes that do not overlap.
type Box struct {
	Family             Family
	Src, Dst           []AddrRange
	Protocols          []ProtocolRange
	SrcPorts, DstPorts []goal.PortRange // of TCP and UDP
}

// ProtocolRange is a range of protocol numbers, or of ICMP types.
type ProtocolRange struct {
	ICMP   bool // Lo and Hi are types of the family's ICMP
	Lo, Hi uint8
}

func (p *product) box(f Family) Box {
	b := Box{Family: f}
	for _, v := range p[dimSrc] {
		b.Src = append(b.Src, AddrRange{v.lo.addr(f), v.hi.addr(f)})
	}
	for _, v := range p[dimDst] {
		b.Dst = append(b.Dst, AddrRange{v.lo.addr(f), v.hi.addr(f)})
	}
	for _, v := range p[dimProtocol] {
		if v.lo.lo < icmpTypes {
			b.Protocols = append(b.Protocols, ProtocolRange{false, uint8(v.lo.lo), uint8(min(v.hi.lo, icmpTypes-1))})
		}
		if v.hi.lo >= icmpTypes {
			b.Protocols = append(b.Protocols, ProtocolRange{true, uint8(max(v.lo.lo, icmpTypes) - icmpTypes), uint8(v.hi.lo - icmpTypes)})
		}
	}
	for _, v := range p[dimSrcPort] {
		b.SrcPorts = append(b.SrcPorts, goal.PortRange{Lo: uint16(v.lo.lo), Hi: uint16(v.hi.lo)})
	}
	for _, v := range p[dimDstPort] {
		b.DstPorts = append(b.DstPorts, goal.PortRange{Lo: uint16(v.lo.lo), Hi: uint16(v.hi.lo)})
	}
	return b
}

// String says the box in one line.
func (b Box) String() string {
	var out strings.Builder
	out.WriteString(b.services())
	fmt.Fprintf(&out, " from %s to %s", addresses(b.Src, b.Family), addresses(b.Dst, b.Family))
	if s := ports(b.SrcPorts); s != "" {
		out.WriteString(" source port " + s)
	}
	if s := ports(b.DstPorts); s != "" {
		out.WriteString(" port " + s)
	}
	return out.String()
}

func (b Box) services() string {
	var words []string
	for _, p := range b.Protocols {
		switch {
		case p.ICMP && p.Lo == 0 && p.Hi == 255:
			words = append(words, "icmp")
		case p.ICMP && p.Lo == p.Hi:
			words = append(words, fmt.Sprintf("icmp type %d", p.Lo))
		case p.ICMP:
			words = append(words, fmt.Sprintf("icmp types %d-%d", p.Lo, p.Hi))
		case p.Lo == 0 && p.Hi == 255:
			return "any protocol"
		case p.Lo == p.Hi:
			words = append(words, protocolWord(uint64(p.Lo)))
		default:
			words = append(words, fmt.Sprintf("protocols %d-%d", p.Lo, p.Hi))
		}
	}
	return strings.Join(words, ",")
}

func addresses(rs []AddrRange, f Family) string {
	if len(rs) == 1 && numberOf(rs[0].From) == (number{}) && numberOf(rs[0].To) == f.last() {
		return "any " + f.String() + " address"
	}
	return list(rs, func(r AddrRange) string { return r.String() })
}

func ports(rs []goal.PortRange) string {
	if len(rs) == 1 && rs[0] == goal.AnyPort {
		return ""
	}
	return list(rs, func(r goal.PortRange) string {
		if r.Lo == r.Hi {
			return fmt.Sprint(r.Lo)
		}
		return fmt.Sprintf("%d-%d", r.Lo, r.Hi)
	})
}

// list writes at most four of a list, and how many more there are.
func list[T any](all []T, word func(T) string) string {
	var words []string
	for i, x := range all {
		if i == 4 && len(all) > 5 {
			words = append(words, fmt.Sprintf("%d more", len(all)-4))
			break
		}
		words = append(words, word(x))
	}
	return strings.Join(words, ",")
}

// packet is a familiar point of a product that is not empty: low ports, a high source port, an echo request, addresses that
// documents use.
func (p *product) packet(f Family) Packet {
	x := [space.Dims]number{}
	for d := range p {
		x[d] = p[d][0].lo
	}
	prefer := func(d int, choices ...number) {
		for _, c := range choices {
			if p[d].holds(c) {
				x[d] = c
				return
			}
		}
	}
	famous := [][]string{{"203.0.113.10", "8.8.8.8", "10.0.0.4"}, {"2001:db8::10", "fd00::4"}}[f]
	for _, text := range famous {
		a := numberOf(netip.MustParseAddr(text))
		for _, d := range []int{dimSrc, dimDst} {
			if x[d] == p[d][0].lo {
				prefer(d, a)
			}
		}
	}
	prefer(dimProtocol, small(uint64(goal.TCP)), small(uint64(goal.UDP)), small(icmpTypes+uint64(echo(f))))
	prefer(dimSrcPort, small(50000), small(1024))
	prefer(dimDstPort, small(80), small(443), small(22), small(3389), small(1))
	return packetAt(f, x)
}

func echo(f Family) uint8 { return [...]uint8{model.EchoRequest, model.EchoRequest6}[f] }

func packetAt(f Family, x [space.Dims]number) Packet {
	out := Packet{Src: x[dimSrc].addr(f), Dst: x[dimDst].addr(f)}
	if n := x[dimProtocol].lo; n >= icmpTypes {
		out.Protocol, out.ICMPType = f.icmp(), uint8(n-icmpTypes)
	} else if out.Protocol = uint8(n); out.Protocol == goal.TCP || out.Protocol == goal.UDP {
		out.SrcPort, out.DstPort = uint16(x[dimSrcPort].lo), uint16(x[dimDstPort].lo)
	}
	return out
}

// point is where the packet lies.
func (p Packet) point() [space.Dims]number {
	x := [space.Dims]number{numberOf(p.Src), numberOf(p.Dst), small(uint64(p.Protocol)), small(uint64(p.SrcPort)), small(uint64(p.DstPort))}
	if p.Protocol == familyOf(p.Src).icmp() {
		x[dimProtocol] = small(icmpTypes + uint64(p.ICMPType))
	}
	return x
}
