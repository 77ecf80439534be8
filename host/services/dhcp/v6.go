package dhcp

import (
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// serverDUID identifies the fabric as a DHCPv6 server: the same on every host, so that a VM that moves keeps its server.
var serverDUID = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: fabric[:]}

// most associations, and most addresses to take back, that one answer speaks about: so that it fits one packet.
const most = 4

// forever is an infinite lifetime, in the library's unit.
const forever = math.MaxUint32 * time.Second

// answer6 answers one DHCPv6 message. Azure's own answers are not documented; this is RFC 8415 with infinite lifetimes.
func answer6(p *port, in packet) ([]byte, outcome) {
	m, err := dhcpv6.MessageFromBytes(in.payload)
	if err != nil || !in.src.IsLinkLocalUnicast() {
		return nil, malformed
	}
	if !in.dst.IsMulticast() || !p.hasV6() {
		return nil, ignored // section 16: no unicast without the option that allows it
	}
	reply, what := reply6(p, m)
	if reply == nil {
		return nil, what
	}
	return p.udp6(in.src, reply.ToBytes()), answered
}

// reply6 checks the identifiers as section 16 demands and decides the kind of the answer.
func reply6(p *port, m *dhcpv6.Message) (*dhcpv6.Message, outcome) {
	client, server := m.Options.ClientID() != nil, m.Options.ServerID()
	ours := server != nil && server.Equal(serverDUID)
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit:
		if !client || server != nil {
			return nil, malformed
		}
		if m.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
			r := lease6(p, m, dhcpv6.MessageTypeReply)
			r.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
			return r, answered
		}
		return lease6(p, m, dhcpv6.MessageTypeAdvertise), answered
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew:
		return check6(client && server != nil, ours, func() *dhcpv6.Message { return lease6(p, m, dhcpv6.MessageTypeReply) })
	case dhcpv6.MessageTypeRebind:
		return check6(client && server == nil, true, func() *dhcpv6.Message { return lease6(p, m, dhcpv6.MessageTypeReply) })
	case dhcpv6.MessageTypeConfirm:
		return check6(client && server == nil, hasAddress(m), func() *dhcpv6.Message { return confirm6(p, m) })
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return check6(client && server != nil, ours, func() *dhcpv6.Message { return status6(m, iana.StatusSuccess, "") })
	case dhcpv6.MessageTypeInformationRequest:
		return check6(m.Options.OneIANA() == nil, server == nil || ours, func() *dhcpv6.Message { return settings6(p, blank6(m, dhcpv6.MessageTypeReply)) })
	}
	return nil, ignored
}

// check6 is malformed when the form is wrong, ignored when the message is for somebody else.
func check6(formed, ours bool, reply func() *dhcpv6.Message) (*dhcpv6.Message, outcome) {
	switch {
	case !formed:
		return nil, malformed
	case !ours:
		return nil, ignored
	}
	return reply(), answered
}

func blank6(m *dhcpv6.Message, kind dhcpv6.MessageType) *dhcpv6.Message {
	r := &dhcpv6.Message{MessageType: kind, TransactionID: m.TransactionID}
	if id := m.Options.ClientID(); id != nil {
		r.AddOption(dhcpv6.OptClientID(id))
	}
	r.AddOption(dhcpv6.OptServerID(serverDUID))
	return r
}

// lease6 gives the first association the NIC's primary address and tells what it does not give.
func lease6(p *port, m *dhcpv6.Message, kind dhcpv6.MessageType) *dhcpv6.Message {
	r := blank6(m, kind)
	for i, ia := range m.Options.IANA()[:min(most, len(m.Options.IANA()))] {
		out := &dhcpv6.OptIANA{IaId: ia.IaId}
		if i == 0 {
			out.T1, out.T2 = forever, forever
			out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: p.v6[0].IP.AsSlice(), PreferredLifetime: forever, ValidLifetime: forever})
			withdraw(&out.Options, ia, p.v6[0].IP)
		} else {
			out.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "one address by DHCP for each network interface"})
		}
		r.AddOption(out)
	}
	for _, ia := range m.Options.IAPD()[:min(most, len(m.Options.IAPD()))] {
		out := &dhcpv6.OptIAPD{IaId: ia.IaId}
		out.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoPrefixAvail, StatusMessage: "no prefixes are delegated"})
		r.AddOption(out)
	}
	return settings6(p, r)
}

// withdraw takes back, with lifetimes of zero, every address that the client believes to have and that is not the NIC's (any more).
func withdraw(out *dhcpv6.IdentityOptions, ia *dhcpv6.OptIANA, own netip.Addr) {
	for _, a := range ia.Options.Addresses()[:min(most, len(ia.Options.Addresses()))] {
		if !a.IPv6Addr.Equal(own.AsSlice()) {
			out.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.IPv6Addr})
		}
	}
}

func hasAddress(m *dhcpv6.Message) bool {
	for _, ia := range m.Options.IANA() {
		if len(ia.Options.Addresses()) > 0 {
			return true
		}
	}
	return false
}

// confirm6 says whether the addresses are still right on this link.
func confirm6(p *port, m *dhcpv6.Message) *dhcpv6.Message {
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			if !a.IPv6Addr.Equal(p.v6[0].IP.AsSlice()) {
				return status6(m, iana.StatusNotOnLink, "the address is not this network interface's")
			}
		}
	}
	return status6(m, iana.StatusSuccess, "")
}

func status6(m *dhcpv6.Message, code iana.StatusCode, text string) *dhcpv6.Message {
	r := blank6(m, dhcpv6.MessageTypeReply)
	r.AddOption(&dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text})
	return r
}

// settings6 adds name servers and the search domain.
func settings6(p *port, r *dhcpv6.Message) *dhcpv6.Message {
	if len(p.dns6) > 0 {
		var servers []net.IP
		for _, d := range p.dns6 {
			servers = append(servers, d.AsSlice())
		}
		r.AddOption(dhcpv6.OptDNS(servers...))
	}
	if p.domain != "" {
		r.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: []string{p.domain}}))
	}
	return r
}
