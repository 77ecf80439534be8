package dhcp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"ringfence/goal"
)

var nicMAC = goal.MAC{0x02, 0x52, 0x46, 0, 0, 7}

// nic is a primary NIC with both families in 10.0.0.0/24 and fd00::/64, on port 7.
func nic() goal.Port {
	return goal.Port{
		Index: 7, ID: "/nic", Primary: true, MAC: nicMAC,
		Addresses: []goal.Address{
			{IP: netip.MustParseAddr("10.0.0.4"), Subnet: netip.MustParsePrefix("10.0.0.0/24"), Primary: true},
			{IP: netip.MustParseAddr("10.0.0.9"), Subnet: netip.MustParsePrefix("10.0.0.0/24")},
			{IP: netip.MustParseAddr("fd00::4"), Subnet: netip.MustParsePrefix("fd00::/64")},
		},
		DNS:    []netip.Addr{netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("fd00::53")},
		Domain: "abc.rx.internal.cloudapp.net", MTU: 1400,
	}
}

func testServer(ports ...goal.Port) *Server {
	s := &Server{limit: newLimiter()}
	s.Set(&goal.Host{Generation: 3, Ports: ports})
	return s
}

func ask(s *Server, frame []byte) ([]byte, outcome) { return s.serve(frame, time.Unix(0, 0)) }

// fromVM builds the frame as the data plane hands it over: the NIC's source MAC, the port in the destination.
func fromVM(index uint32, mac goal.MAC, etherType uint16, body []byte) []byte {
	p := port{index: index}
	dst := p.serviceMAC()
	b := append(append([]byte{}, dst[:]...), mac[:]...)
	return append(binary.BigEndian.AppendUint16(b, etherType), body...)
}

func ip4(src, dst netip.Addr, protocol byte, payload []byte) []byte {
	h := [ipv4Len]byte{0: 0x45, 8: 64, 9: protocol}
	binary.BigEndian.PutUint16(h[2:], uint16(ipv4Len+len(payload)))
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h[:], 0))
	return append(h[:], payload...)
}

func ip6(src, dst netip.Addr, protocol, hop byte, payload []byte) []byte {
	h := [ipv6Len]byte{0: 0x60, 6: protocol, 7: hop}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h[:], payload...)
}

func frame4(m *dhcpv4.DHCPv4, src, dst string) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	return fromVM(7, nicMAC, etherIPv4, ip4(s, d, protoUDP, udp(s, d, client4, server4, m.ToBytes())))
}

func discover(t *testing.T) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.NewDiscovery(nicMAC[:], dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{1, 2, 3})))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read4 takes an answer apart and checks its frame.
func read4(t *testing.T, frame []byte) (*dhcpv4.DHCPv4, packet) {
	t.Helper()
	if !bytes.Equal(frame[:12], append(append([]byte{}, nicMAC[:]...), 0x02, 0x5f, 0, 0, 0, 7)) {
		t.Errorf("MACs %x", frame[:12])
	}
	p, ok := parse(frame)
	if !ok || p.src != serverV4 || p.sport != server4 || p.dport != client4 {
		t.Fatalf("the answer's headers: %+v", p)
	}
	if transportSum(p.src, p.dst, protoUDP, frame[ethernetLen+ipv4Len:]) != 0 {
		t.Error("wrong UDP checksum")
	}
	m, err := dhcpv4.FromBytes(p.payload)
	if err != nil {
		t.Fatal(err)
	}
	return m, p
}

func TestOffer(t *testing.T) {
	m := discover(t)
	reply, what := ask(testServer(nic()), frame4(m, "0.0.0.0", "255.255.255.255"))
	if what != answered {
		t.Fatalf("outcome %d", what)
	}
	offer, p := read4(t, reply)
	if offer.MessageType() != dhcpv4.MessageTypeOffer || offer.TransactionID != m.TransactionID || offer.YourIPAddr.String() != "10.0.0.4" {
		t.Errorf("offer: %s", offer.Summary())
	}
	if p.dst.String() != "10.0.0.4" {
		t.Errorf("sent to %s", p.dst)
	}
	forever := []byte{255, 255, 255, 255}
	for code, want := range map[uint8][]byte{
		1: {255, 255, 255, 0}, 3: {10, 0, 0, 1}, 6: {168, 63, 129, 16, 10, 0, 0, 53}, 15: []byte("abc.rx.internal.cloudapp.net"),
		26: {0x05, 0x78}, 28: {10, 0, 0, 255}, 51: forever, 54: {168, 63, 129, 16}, 58: forever, 59: forever, 61: {1, 2, 3},
		121: {0, 10, 0, 0, 1, 32, 168, 63, 129, 16, 10, 0, 0, 1, 32, 169, 254, 169, 254, 10, 0, 0, 1},
		245: {0xa8, 0x3f, 0x81, 0x10},
	} {
		if got := offer.Options.Get(dhcpv4.GenericOptionCode(code)); !bytes.Equal(got, want) {
			t.Errorf("option %d: %v, want %v", code, got, want)
		}
	}
}

func TestSecondaryNICHasNoRouter(t *testing.T) {
	p := nic()
	p.Primary, p.MTU = false, 1500
	reply, _ := ask(testServer(p), frame4(discover(t), "0.0.0.0", "255.255.255.255"))
	offer, _ := read4(t, reply)
	for _, code := range []uint8{3, 121, 26} {
		if got := offer.Options.Get(dhcpv4.GenericOptionCode(code)); got != nil {
			t.Errorf("option %d: %v", code, got)
		}
	}
}

func TestRequest(t *testing.T) {
	s := testServer(nic())
	with := func(change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(nicMAC[:]), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)}, change...)...)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	option := dhcpv4.WithOption
	own, other, us := net.IP{10, 0, 0, 4}, net.IP{10, 0, 0, 5}, net.IP(serverV4.AsSlice())
	for name, c := range map[string]struct {
		m        *dhcpv4.DHCPv4
		src, dst string
		want     dhcpv4.MessageType
		to       string
	}{
		"selecting":        {with(option(dhcpv4.OptRequestedIPAddress(own)), option(dhcpv4.OptServerIdentifier(us))), "0.0.0.0", "255.255.255.255", dhcpv4.MessageTypeAck, "10.0.0.4"},
		"init-reboot":      {with(option(dhcpv4.OptRequestedIPAddress(own))), "0.0.0.0", "255.255.255.255", dhcpv4.MessageTypeAck, "10.0.0.4"},
		"broadcast wanted": {with(option(dhcpv4.OptRequestedIPAddress(own)), dhcpv4.WithBroadcast(true)), "0.0.0.0", "255.255.255.255", dhcpv4.MessageTypeAck, "255.255.255.255"},
		"renewing":         {with(dhcpv4.WithClientIP(own)), "10.0.0.4", "168.63.129.16", dhcpv4.MessageTypeAck, "10.0.0.4"},
		"other address":    {with(option(dhcpv4.OptRequestedIPAddress(other))), "0.0.0.0", "255.255.255.255", dhcpv4.MessageTypeNak, "255.255.255.255"},
		"no address":       {with(), "0.0.0.0", "255.255.255.255", dhcpv4.MessageTypeNak, "255.255.255.255"},
		"other server":     {with(option(dhcpv4.OptRequestedIPAddress(own)), option(dhcpv4.OptServerIdentifier(other))), "0.0.0.0", "255.255.255.255", dhcpv4.MessageTypeNone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			reply, what := ask(s, frame4(c.m, c.src, c.dst))
			if c.want == dhcpv4.MessageTypeNone {
				if reply != nil || what != ignored {
					t.Errorf("answered: %d", what)
				}
				return
			}
			m, p := read4(t, reply)
			if m.MessageType() != c.want || p.dst.String() != c.to {
				t.Errorf("%s to %s", m.MessageType(), p.dst)
			}
		})
	}
}

func TestInformAndRelease(t *testing.T) {
	s := testServer(nic())
	inform, err := dhcpv4.NewInform(nicMAC[:], net.IP{10, 0, 0, 4})
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := ask(s, frame4(inform, "10.0.0.4", "255.255.255.255"))
	ack, _ := read4(t, reply)
	if !ack.YourIPAddr.IsUnspecified() || ack.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || len(ack.DNS()) != 2 {
		t.Errorf("inform: %s", ack.Summary())
	}
	inform.ClientIPAddr = net.IP{10, 0, 0, 77}
	if reply, _ := ask(s, frame4(inform, "10.0.0.4", "255.255.255.255")); reply != nil {
		t.Error("informed about another's address")
	}
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeNone} {
		m, _ := dhcpv4.New(dhcpv4.WithHwAddr(nicMAC[:]), dhcpv4.WithMessageType(kind), dhcpv4.WithClientIP(net.IP{10, 0, 0, 4}))
		if reply, what := ask(s, frame4(m, "10.0.0.4", "168.63.129.16")); reply != nil || what != ignored {
			t.Errorf("%s: outcome %d", kind, what)
		}
	}
}

func TestWhoIsNotAnswered(t *testing.T) {
	good := func() *dhcpv4.DHCPv4 { return discover(t) }
	relayed := good()
	relayed.GatewayIPAddr = net.IP{10, 0, 0, 3}
	stranger := good()
	stranger.ClientHWAddr = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	reply := good()
	reply.OpCode = dhcpv4.OpcodeBootReply
	frame := frame4(good(), "0.0.0.0", "255.255.255.255")
	changed := func(change func([]byte)) []byte {
		f := slices.Clone(frame)
		change(f)
		return f
	}
	for name, c := range map[string]struct {
		frame []byte
		want  outcome
	}{
		"relayed":              {frame4(relayed, "0.0.0.0", "255.255.255.255"), malformed},
		"for another MAC":      {frame4(stranger, "0.0.0.0", "255.255.255.255"), malformed},
		"a server's answer":    {frame4(reply, "0.0.0.0", "255.255.255.255"), malformed},
		"to another server":    {frame4(good(), "0.0.0.0", "10.0.0.1"), ignored},
		"unknown port":         {changed(func(f []byte) { f[5] = 8 }), unknownPort},
		"another's source MAC": {changed(func(f []byte) { f[11]++ }), malformed},
		"no port's MAC":        {changed(func(f []byte) { f[1] = 0 }), ignored},
		"header checksum":      {changed(func(f []byte) { f[ethernetLen+10]++ }), malformed},
		"truncated":            {frame[:100], malformed},
		"empty":                {nil, malformed},
		"Ethernet only":        {frame[:ethernetLen], malformed},
		"another EtherType":    {changed(func(f []byte) { f[13] = 6 }), malformed},
	} {
		if got, what := ask(testServer(nic()), c.frame); got != nil || what != c.want {
			t.Errorf("%s: outcome %d, want %d", name, what, c.want)
		}
	}
	without := nic()
	without.Addresses = without.Addresses[2:]
	if got, what := ask(testServer(without), frame); got != nil || what != ignored {
		t.Errorf("a NIC without IPv4: %d", what)
	}
}

func TestSetReplacesEverything(t *testing.T) {
	s := testServer(nic())
	frame := frame4(discover(t), "0.0.0.0", "255.255.255.255")
	p := nic()
	p.Addresses[0].IP = netip.MustParseAddr("10.0.0.6")
	s.Set(&goal.Host{Generation: 4, Ports: []goal.Port{p}})
	reply, _ := ask(s, frame)
	if m, _ := read4(t, reply); m.YourIPAddr.String() != "10.0.0.6" {
		t.Errorf("got %s", m.YourIPAddr)
	}
	if st := s.Status(); st.Generation != 4 || st.Ports != 1 {
		t.Errorf("status %+v", st)
	}
	s.Set(&goal.Host{Generation: 5})
	if reply, what := ask(s, frame); reply != nil || what != unknownPort {
		t.Errorf("outcome %d", what)
	}
	if len(s.limit.buckets) != 0 {
		t.Error("the limiter remembers ports that are gone")
	}
}

// One port over its rate costs no other port anything, and recovers.
func TestRateLimit(t *testing.T) {
	other := nic()
	other.Index, other.MAC = 8, goal.MAC{0x02, 0x52, 0x46, 0, 0, 8}
	s := testServer(nic(), other)
	frame := frame4(discover(t), "0.0.0.0", "255.255.255.255")
	now := time.Unix(1000, 0)
	served := 0
	for range 100 {
		if _, what := s.serve(frame, now); what == answered {
			served++
		} else if what != limited {
			t.Fatalf("outcome %d", what)
		}
	}
	if served != burst {
		t.Errorf("%d served at once", served)
	}
	m, _ := dhcpv4.NewDiscovery(other.MAC[:])
	z, all := netip.IPv4Unspecified(), netip.MustParseAddr("255.255.255.255")
	if _, what := s.serve(fromVM(8, other.MAC, etherIPv4, ip4(z, all, protoUDP, udp(z, all, client4, server4, m.ToBytes()))), now); what != answered {
		t.Errorf("the other port: outcome %d", what)
	}
	if _, what := s.serve(frame, now.Add(time.Second/rate)); what != answered {
		t.Errorf("later: outcome %d", what)
	}
	if _, what := s.serve(frame, now.Add(-time.Hour)); what != limited {
		t.Errorf("a clock that jumped back: outcome %d", what)
	}
}

func frame6(m dhcpv6.DHCPv6) []byte {
	src, dst := netip.MustParseAddr("fe80::52:46ff:fe00:7"), netip.MustParseAddr("ff02::1:2")
	return fromVM(7, nicMAC, etherIPv6, ip6(src, dst, protoUDP, 1, udp(src, dst, client6, server6, m.ToBytes())))
}

func read6(t *testing.T, frame []byte) *dhcpv6.Message {
	t.Helper()
	p, ok := parse(frame)
	if !ok || p.src != router || p.sport != server6 || p.dport != client6 || p.dst.String() != "fe80::52:46ff:fe00:7" {
		t.Fatalf("headers %+v", p)
	}
	if transportSum(p.src, p.dst, protoUDP, frame[ethernetLen+ipv6Len:]) != 0 {
		t.Error("wrong UDP checksum")
	}
	m, err := dhcpv6.MessageFromBytes(p.payload)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func solicit(t *testing.T, change ...dhcpv6.Modifier) *dhcpv6.Message {
	t.Helper()
	m, err := dhcpv6.NewSolicit(nicMAC[:], change...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDHCPv6(t *testing.T) {
	s := testServer(nic())
	m := solicit(t)
	reply, _ := ask(s, frame6(m))
	adv := read6(t, reply)
	ia := adv.Options.OneIANA()
	if adv.MessageType != dhcpv6.MessageTypeAdvertise || adv.TransactionID != m.TransactionID || ia == nil || ia.IaId != m.Options.OneIANA().IaId {
		t.Fatalf("advertise: %s", adv.Summary())
	}
	a := ia.Options.OneAddress()
	if a == nil || a.IPv6Addr.String() != "fd00::4" || a.ValidLifetime != forever || ia.T1 != forever {
		t.Errorf("address: %s", ia)
	}
	if dns := adv.Options.DNS(); len(dns) != 1 || dns[0].String() != "fd00::53" {
		t.Errorf("name servers: %v", dns)
	}
	if l := adv.Options.DomainSearchList(); l == nil || !slices.Equal(l.Labels, []string{"abc.rx.internal.cloudapp.net"}) {
		t.Errorf("search list: %v", l)
	}

	request, err := dhcpv6.NewRequestFromAdvertise(adv)
	if err != nil {
		t.Fatal(err)
	}
	reply, _ = ask(s, frame6(request))
	got := read6(t, reply)
	if got.MessageType != dhcpv6.MessageTypeReply || got.Options.OneIANA().Options.OneAddress().IPv6Addr.String() != "fd00::4" {
		t.Errorf("reply: %s", got.Summary())
	}
	reply, _ = ask(s, frame6(solicit(t, dhcpv6.WithRapidCommit)))
	got = read6(t, reply)
	if got.MessageType != dhcpv6.MessageTypeReply || got.GetOneOption(dhcpv6.OptionRapidCommit) == nil {
		t.Errorf("rapid commit: %s", got.Summary())
	}
}

func TestDHCPv6OtherMessages(t *testing.T) {
	s := testServer(nic())
	send := func(kind dhcpv6.MessageType, change ...dhcpv6.Modifier) (*dhcpv6.Message, outcome) {
		m := solicit(t, change...)
		m.MessageType = kind
		reply, what := ask(s, frame6(m))
		if reply == nil {
			return nil, what
		}
		return read6(t, reply), what
	}
	us, them := dhcpv6.WithServerID(serverDUID), dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: nicMAC[:]})
	old := dhcpv6.WithIANA(dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("fd00::99"), ValidLifetime: forever})
	own := dhcpv6.WithIANA(dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("fd00::4"), ValidLifetime: forever})

	for name, c := range map[string]struct {
		kind   dhcpv6.MessageType
		change []dhcpv6.Modifier
		want   outcome
	}{
		"solicit with server":    {dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{us}, malformed},
		"request without server": {dhcpv6.MessageTypeRequest, nil, malformed},
		"request to another":     {dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{them}, ignored},
		"rebind with server":     {dhcpv6.MessageTypeRebind, []dhcpv6.Modifier{us}, malformed},
		"confirm of nothing":     {dhcpv6.MessageTypeConfirm, nil, ignored},
		"a server's reply":       {dhcpv6.MessageTypeReply, []dhcpv6.Modifier{us}, ignored},
		"information with IA":    {dhcpv6.MessageTypeInformationRequest, nil, malformed},
	} {
		if m, what := send(c.kind, c.change...); m != nil || what != c.want {
			t.Errorf("%s: outcome %d, want %d", name, what, c.want)
		}
	}
	renewed, _ := send(dhcpv6.MessageTypeRenew, us, old)
	addresses := renewed.Options.OneIANA().Options.Addresses()
	if len(addresses) != 2 || addresses[0].IPv6Addr.String() != "fd00::4" || addresses[1].IPv6Addr.String() != "fd00::99" || addresses[1].ValidLifetime != 0 {
		t.Errorf("renew of an address that is not the NIC's any more: %v", addresses)
	}
	if m, _ := send(dhcpv6.MessageTypeRebind, own); m == nil || m.Options.OneIANA().Options.OneAddress() == nil {
		t.Error("rebind is not answered")
	}
	for want, change := range map[iana.StatusCode]dhcpv6.Modifier{iana.StatusSuccess: own, iana.StatusNotOnLink: old} {
		if m, _ := send(dhcpv6.MessageTypeConfirm, change); m == nil || m.Options.Status().StatusCode != want {
			t.Errorf("confirm: %v, want %v", m, want)
		}
	}
	if m, _ := send(dhcpv6.MessageTypeRelease, us, own); m == nil || m.Options.Status().StatusCode != iana.StatusSuccess {
		t.Errorf("release: %v", m)
	}
}

func TestDHCPv6Leftovers(t *testing.T) {
	s := testServer(nic())
	m := solicit(t, dhcpv6.WithIAPD([4]byte{1, 2, 3, 4}))
	m.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{9, 9, 9, 9}})
	reply, _ := ask(s, frame6(m))
	adv := read6(t, reply)
	if st := adv.Options.IANA()[1].Options.Status(); st == nil || st.StatusCode != iana.StatusNoAddrsAvail {
		t.Errorf("second association: %v", st)
	}
	if pd := adv.Options.OneIAPD(); pd == nil || pd.Options.Status().StatusCode != iana.StatusNoPrefixAvail {
		t.Errorf("prefix: %v", pd)
	}
	greedy := solicit(t)
	for i := range 40 {
		greedy.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{1, byte(i)}})
	}
	if reply, what := ask(s, frame6(greedy)); what != answered || len(reply) > 1514 {
		t.Errorf("forty associations: outcome %d, %d bytes", what, len(reply))
	}
	inform := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeInformationRequest}
	reply, _ = ask(s, frame6(inform))
	if got := read6(t, reply); len(got.Options.DNS()) != 1 || got.Options.OneIANA() != nil {
		t.Errorf("information: %s", got.Summary())
	}
	only4 := nic()
	only4.Addresses = only4.Addresses[:1]
	if reply, what := ask(testServer(only4), frame6(solicit(t))); reply != nil || what != ignored {
		t.Errorf("a NIC without IPv6: %d", what)
	}
	relay, err := dhcpv6.EncapsulateRelay(solicit(t), dhcpv6.MessageTypeRelayForward, net.ParseIP("fd00::1"), net.ParseIP("fe80::1"))
	if err != nil {
		t.Fatal(err)
	}
	if reply, what := ask(s, frame6(relay)); reply != nil || what != malformed {
		t.Errorf("relayed: %d", what)
	}
}

func solicitation(src string, hop byte, options ...byte) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr("ff02::2")
	m := append([]byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0}, options...)
	binary.BigEndian.PutUint16(m[2:], transportSum(s, d, protoICMPv6, m))
	return fromVM(7, nicMAC, etherIPv6, ip6(s, d, protoICMPv6, hop, m))
}

func TestRouterAdvertisement(t *testing.T) {
	s := testServer(nic())
	reply, what := ask(s, solicitation("fe80::52:46ff:fe00:7", 255, 1, 1, 2, 0x52, 0x46, 0, 0, 7))
	if what != answered {
		t.Fatalf("outcome %d", what)
	}
	p, ok := parse(reply) // checks the ICMPv6 checksum
	want := []byte{134, 0, 0, 0, 64, 0xc0, 0x23, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 5, 1, 0, 0, 0, 0, 0x05, 0x78}
	if !ok || p.hopLimit != 255 || p.src != router || p.dst.String() != "fe80::52:46ff:fe00:7" {
		t.Fatalf("headers %+v", p)
	}
	copy(p.payload[2:4], []byte{0, 0})
	if !bytes.Equal(p.payload, want) {
		t.Errorf("got  %x\nwant %x", p.payload, want)
	}
	reply, _ = ask(s, solicitation("::", 255))
	if p, _ := parse(reply); p.dst != allNodes {
		t.Errorf("an unspecified source is answered at %s", p.dst)
	}
	for name, frame := range map[string][]byte{
		"hop limit":         solicitation("fe80::52:46ff:fe00:7", 254),
		"global source":     solicitation("fd00::4", 255),
		"option of length0": solicitation("fe80::52:46ff:fe00:7", 255, 1, 0, 0, 0, 0, 0, 0, 0),
		"option truncated":  solicitation("fe80::52:46ff:fe00:7", 255, 1, 2, 0, 0, 0, 0, 0, 0),
	} {
		if reply, what := ask(s, frame); reply != nil || what != malformed {
			t.Errorf("%s: outcome %d", name, what)
		}
	}
}

func FuzzServe(f *testing.F) {
	m, _ := dhcpv4.NewDiscovery(nicMAC[:])
	f.Add(frame4(m, "0.0.0.0", "255.255.255.255"))
	six, _ := dhcpv6.NewSolicit(nicMAC[:])
	f.Add(frame6(six))
	f.Add(solicitation("fe80::52:46ff:fe00:7", 255, 1, 1, 2, 0x52, 0x46, 0, 0, 7))
	f.Fuzz(func(t *testing.T, frame []byte) {
		// Whatever arrives: no panic, and an answer goes to the port's own MAC from its service MAC, whole.
		p := newPort(&goal.Port{Index: 7, MAC: nicMAC, Addresses: nic().Addresses, Primary: true})
		reply, what := answer(p, frame)
		if (reply != nil) != (what == answered) {
			t.Fatalf("outcome %d with %d bytes", what, len(reply))
		}
		if reply == nil {
			return
		}
		if goal.MAC(reply[:6]) != nicMAC || [6]byte(reply[6:12]) != p.serviceMAC() {
			t.Fatalf("MACs %x", reply[:12])
		}
		if _, ok := parse(reply); !ok || len(reply) > 1514 {
			t.Fatalf("an answer of %d bytes that cannot be read", len(reply))
		}
	})
}
