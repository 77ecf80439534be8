package dhcp

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Options that the library has no name for.
const (
	optionT1, optionT2 = 58, 59
	optionWireServer   = 245 // Azure tells its platform address here
)

// metadata is the address of the metadata service: told as a route, as Azure does.
var metadata = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// answer4 answers one DHCPv4 message.
func answer4(p *port, in packet) ([]byte, outcome) {
	m, err := dhcpv4.FromBytes(in.payload)
	if err != nil {
		return nil, malformed
	}
	if m.OpCode != dhcpv4.OpcodeBootRequest || !m.GatewayIPAddr.IsUnspecified() || string(m.ClientHWAddr) != string(p.mac[:]) {
		return nil, malformed
	}
	if !p.hasV4() || (in.dst != all4 && in.dst != serverV4) {
		return nil, ignored
	}
	reply := reply4(p, m)
	if reply == nil {
		return nil, ignored
	}
	return p.udp4(destination4(m, reply), reply.ToBytes()), answered
}

// reply4 decides the kind of the answer; nil: none.
func reply4(p *port, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if id := m.ServerIdentifier(); id != nil && !id.Equal(serverV4.AsSlice()) {
		return nil // the client chose another server
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return lease4(p, m, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		if wanted4(m) != p.v4.IP {
			return nak4(m)
		}
		return lease4(p, m, dhcpv4.MessageTypeAck)
	case dhcpv4.MessageTypeInform:
		return inform4(p, m)
	}
	return nil // release and decline change nothing: the address is the NIC's
}

// wanted4 is the address that a request asks for, in any of a client's states.
func wanted4(m *dhcpv4.DHCPv4) netip.Addr {
	ip := m.RequestedIPAddress()
	if ip == nil || ip.IsUnspecified() {
		ip = m.ClientIPAddr
	}
	addr, _ := netip.AddrFromSlice(ip.To4())
	return addr
}

func blank4(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	r := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: m.HWType, ClientHWAddr: m.ClientHWAddr, TransactionID: m.TransactionID, Flags: m.Flags,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		Options: dhcpv4.Options{},
	}
	r.UpdateOption(dhcpv4.OptMessageType(kind))
	r.UpdateOption(dhcpv4.OptServerIdentifier(serverV4.AsSlice()))
	if id := m.Options.Get(dhcpv4.OptionClientIdentifier); id != nil {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, id)) // RFC 6842
	}
	return r
}

func nak4(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	r := blank4(m, dhcpv4.MessageTypeNak)
	r.UpdateOption(dhcpv4.OptMessage("the address is not this network interface's"))
	return r
}

// lease4 is an offer or an acknowledgement: the NIC's address for ever.
func lease4(p *port, m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	r := blank4(m, kind)
	r.YourIPAddr = p.v4.IP.AsSlice()
	r.ServerIPAddr = serverV4.AsSlice()
	if kind == dhcpv4.MessageTypeAck {
		r.ClientIPAddr = m.ClientIPAddr
	}
	forever := binary.BigEndian.AppendUint32(nil, math.MaxUint32)
	for _, code := range []uint8{uint8(dhcpv4.OptionIPAddressLeaseTime), optionT1, optionT2} {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), forever))
	}
	p.settings4(r)
	return r
}

// inform4 tells a client that has its address already the rest.
func inform4(p *port, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if a, _ := netip.AddrFromSlice(m.ClientIPAddr.To4()); a != p.v4.IP {
		return nil
	}
	r := blank4(m, dhcpv4.MessageTypeAck)
	r.ClientIPAddr = m.ClientIPAddr
	p.settings4(r)
	return r
}

// settings4 are the options that follow from the subnet. Azure sends them all, asked for or not.
func (p *port) settings4(r *dhcpv4.DHCPv4) {
	subnet := p.v4.Subnet
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(subnet.Bits(), 32)))
	r.UpdateOption(dhcpv4.OptBroadcastAddress(lastOf(subnet).AsSlice()))
	if p.primary {
		gateway := subnet.Masked().Addr().Next()
		r.UpdateOption(dhcpv4.OptRouter(gateway.AsSlice()))
		r.UpdateOption(dhcpv4.OptClasslessStaticRoute(
			route4(netip.PrefixFrom(nobody4, 0), gateway),
			route4(netip.PrefixFrom(serverV4, 32), gateway),
			route4(netip.PrefixFrom(metadata, 32), gateway)))
	}
	if len(p.dns4) > 0 {
		var servers []net.IP
		for _, d := range p.dns4 {
			servers = append(servers, d.AsSlice())
		}
		r.UpdateOption(dhcpv4.OptDNS(servers...))
	}
	if p.domain != "" {
		r.UpdateOption(dhcpv4.OptDomainName(p.domain))
	}
	if p.mtu != 0 {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, p.mtu)))
	}
	r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(optionWireServer), serverV4.AsSlice()))
}

func route4(to netip.Prefix, via netip.Addr) *dhcpv4.Route {
	return &dhcpv4.Route{Dest: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Router: via.AsSlice()}
}

// lastOf is the last address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// destination4 is where an answer goes by RFC 2131 section 4.1.
func destination4(m, reply *dhcpv4.DHCPv4) netip.Addr {
	switch {
	case reply.MessageType() == dhcpv4.MessageTypeNak:
		return all4
	case !m.ClientIPAddr.IsUnspecified():
		a, _ := netip.AddrFromSlice(m.ClientIPAddr.To4())
		return a
	case m.IsBroadcast():
		return all4
	}
	a, _ := netip.AddrFromSlice(reply.YourIPAddr.To4())
	return a
}
