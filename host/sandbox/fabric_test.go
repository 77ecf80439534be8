package sandbox

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
)

// fabric stands in for the data plane and the DHCP service: it answers ARP, neighbour and router solicitations and DHCP on the host
// sides of the ports, and carries packets between them by destination address.
type fabric struct {
	mu     sync.Mutex
	ports  map[netip.Addr]*attached
	silent bool // answers nothing
	served int  // DHCP messages
}

type attached struct {
	p    goal.Port
	conn *netdev.PacketConn
}

var (
	fabricMAC = net.HardwareAddr{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}
	dhcpAddr  = netip.MustParseAddr("168.63.129.16")
	gatewayLL = netip.MustParseAddr("fe80::1234:5678:9abc")
)

func newFabric() *fabric { return &fabric{ports: map[netip.Addr]*attached{}} }

func (f *fabric) messages() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.served
}

func (f *fabric) silence() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = true
}

// attach takes a port whose device is in the namespace ns; the device's end ends it.
func (f *fabric) attach(t *testing.T, ns string, p goal.Port) {
	t.Helper()
	conn, err := netdev.OpenPacket(ns, Device(p.Index))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	a := &attached{p, conn}
	f.mu.Lock()
	for addr, old := range f.ports {
		if old.p.Index == p.Index { // the port as it was before
			old.conn.Close()
			delete(f.ports, addr)
		}
	}
	for _, addr := range p.Addresses {
		f.ports[addr.IP] = a
	}
	f.mu.Unlock()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			f.frame(a, bytes.Clone(buf[:n]))
		}
	}()
}

func (f *fabric) frame(a *attached, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent || len(b) < 34 || !bytes.Equal(b[6:12], a.p.MAC[:]) {
		return
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0806:
		a.arp(b[14:])
	case 0x0800:
		dst := netip.AddrFrom4([4]byte(b[30:34]))
		if b[23] == 17 && binary.BigEndian.Uint16(b[36:]) == 67 {
			f.served++
			a.dhcp4(b[42:])
			return
		}
		f.carry(dst, b)
	case 0x86dd:
		f.six(a, b)
	}
}

func (f *fabric) six(a *attached, b []byte) {
	src, dst := netip.AddrFrom16([16]byte(b[22:38])), netip.AddrFrom16([16]byte(b[38:54]))
	switch {
	case b[20] == 17 && binary.BigEndian.Uint16(b[56:]) == 547:
		f.served++
		a.dhcp6(src, b[62:])
	case b[20] == 58 && b[54] == 133:
		ra := append([]byte{134, 0, 0, 0, 64, 0xc0, 0x23, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, fabricMAC...)
		a.send6(gatewayLL, src, 58, ra)
	case b[20] == 58 && b[54] == 135:
		na := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, b[62:78]...)
		na = append(append(na, 2, 1), fabricMAC...)
		a.send6(netip.AddrFrom16([16]byte(b[62:78])), src, 58, na)
	default:
		f.carry(dst, b)
	}
}

// carry delivers to the port that has the address.
func (f *fabric) carry(dst netip.Addr, b []byte) {
	if to := f.ports[dst]; to != nil {
		copy(b, to.p.MAC[:])
		copy(b[6:], fabricMAC)
		to.conn.Write(b)
	}
}

func (a *attached) ethernet(etherType uint16) []byte {
	b := append(append([]byte{}, a.p.MAC[:]...), fabricMAC...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

func (a *attached) arp(q []byte) {
	b := append(a.ethernet(0x0806), 0, 1, 8, 0, 6, 4, 0, 2)
	b = append(append(append(append(b, fabricMAC...), q[24:28]...), q[8:14]...), q[14:18]...)
	a.conn.Write(b)
}

func (a *attached) dhcp4(payload []byte) {
	m, err := dhcpv4.FromBytes(payload)
	if err != nil {
		return
	}
	kind := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	own := a.p.Addresses[0]
	gateway := own.Subnet.Addr().Next().AsSlice()
	change := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(own.IP.AsSlice()), dhcpv4.WithServerIP(dhcpAddr.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(dhcpAddr.AsSlice())), dhcpv4.WithNetmask(net.CIDRMask(own.Subnet.Bits(), 32)),
		dhcpv4.WithOption(dhcpv4.OptDomainName(a.p.Domain)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, a.p.MTU)))}
	for _, d := range a.p.DNS {
		change = append(change, dhcpv4.WithDNS(d.AsSlice()))
	}
	if a.p.Primary {
		everywhere := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
		change = append(change, dhcpv4.WithRouter(gateway),
			dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: everywhere, Router: gateway},
				&dhcpv4.Route{Dest: &net.IPNet{IP: dhcpAddr.AsSlice(), Mask: net.CIDRMask(32, 32)}, Router: gateway})))
	}
	r, err := dhcpv4.NewReplyFromRequest(m, change...)
	if err == nil {
		a.send4(dhcpAddr, own.IP, udp(67, 68, r.ToBytes()))
	}
}

func (a *attached) dhcp6(to netip.Addr, payload []byte) {
	m, err := dhcpv6.MessageFromBytes(payload)
	if err != nil {
		return
	}
	r, err := dhcpv6.NewReplyFromMessage(m, dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: fabricMAC}))
	if err != nil {
		return
	}
	for _, addr := range a.p.Addresses {
		if addr.IP.Is6() {
			out := &dhcpv6.OptIANA{IaId: m.Options.OneIANA().IaId}
			out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: addr.IP.AsSlice(), PreferredLifetime: 1 << 40, ValidLifetime: 1 << 40})
			r.AddOption(out)
			break
		}
	}
	a.send6(gatewayLL, to, 17, udp(547, 546, r.ToBytes()))
}

func udp(sport, dport uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func (a *attached) send4(src, dst netip.Addr, body []byte) {
	h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], sum(h))
	a.conn.Write(append(append(a.ethernet(0x0800), h...), body...))
}

func (a *attached) send6(src, dst netip.Addr, protocol byte, body []byte) {
	h := []byte{0x60, 0, 0, 0, 0, 0, protocol, 255}
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	pseudo := append(append([]byte{}, h[8:]...), 0, 0, h[4], h[5], 0, 0, 0, protocol)
	at := map[byte]int{58: 2, 17: 6}[protocol]
	binary.BigEndian.PutUint16(body[at:], sum(append(pseudo, body...)))
	a.conn.Write(append(append(a.ethernet(0x86dd), h...), body...))
}

func sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
