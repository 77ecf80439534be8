package verify

import (
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/goal/model"
)

// Judge says what every layer says about one packet that a NIC sends from one of its addresses, as the first of a conversation,
// also behind the layer that drops it: the packet arrives when no hop denies. What leaves the virtual network meets its routes.
// ok is false for packets that the verifier has no say about: of another source than the NIC's, and those that end at the fabric
// (neighbour discovery, DHCP).
func (n *Network) Judge(nic string, w Packet) (hops []Hop, ok bool) {
	x, f := w.point(), familyOf(w.Src)
	region := f.packets()
	if !region[dimProtocol].holds(x[dimProtocol]) || w.dhcp() {
		return nil, false
	}
	for _, v := range n.vnets {
		for _, c := range v.classes {
			port := c.portOf(w.Src)
			if port == nil || !strings.EqualFold(port.ID, nic) {
				continue
			}
			if slices.Contains(platform, w.Dst) {
				return n.serving(f, c).trace(x), true
			}
			for _, to := range v.classes {
				if to.portOf(w.Dst) != nil {
					return n.between(f, c, to).trace(x), true
				}
			}
			return n.leaving(f, c).trace(x), true
		}
	}
	return nil, false
}

// dhcp says whether a packet is a DHCP client's, or one that is taken for a server's search: they end at the fabric.
func (w Packet) dhcp() bool {
	if w.Protocol != goal.UDP {
		return false
	}
	if w.Src.Is4() {
		return w.DstPort == 67 && (w.SrcPort == 68 && w.Dst == model.WireServer || w.Dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}))
	}
	return w.DstPort == 547 && w.Dst.Is6() && w.Dst.As16()[0] == 0xff
}

// Opens returns what the verifier knows of a frame that a VM behind a port sends: false when it is not whole, not in the NIC's
// name, or a TCP segment that belongs to a conversation, so that rules do not see it.
func Opens(p model.Packet, port *goal.Port) (Packet, bool) {
	own := slices.ContainsFunc(port.Addresses, func(a goal.Address) bool { return a.IP == p.Src })
	switch {
	case p.VLAN, p.Malformed, p.Options, p.BadFragment, p.Fragment != model.Fragment{}, p.Short, !own, p.SrcMAC != port.MAC, p.EtherType != model.EtherIPv4 && p.EtherType != model.EtherIPv6:
		return Packet{}, false
	case p.Protocol == goal.TCP && p.TCPFlags&(model.SYN|model.ACK|model.RST|model.FIN) != model.SYN:
		return Packet{}, false
	}
	w := Packet{Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, From: port.ID}
	t := p.Tuple()
	switch p.Protocol {
	case goal.TCP, goal.UDP:
		w.SrcPort, w.DstPort = t.SrcPort, t.DstPort
	default:
		w.ICMPType = p.ICMPType
	}
	return w, true
}
