package sandbox

import (
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func ack(t *testing.T, change ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)}, change...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTake4(t *testing.T) {
	ip, mask := dhcpv4.WithYourIP(net.IP{10, 0, 0, 4}), dhcpv4.WithNetmask(net.CIDRMask(24, 32))
	router := dhcpv4.WithRouter(net.IP{10, 0, 0, 1})
	onlink := dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{
		Dest: &net.IPNet{IP: net.IP{192, 0, 2, 9}, Mask: net.CIDRMask(24, 32)}, Router: net.IPv4zero}))
	own := []netip.Prefix{netip.MustParsePrefix("10.0.0.4/24")}
	for name, c := range map[string]struct {
		ack  *dhcpv4.DHCPv4
		want *lease
	}{
		"router alone":                        {ack(t, ip, mask, router), &lease{Addresses: own, Routes: []route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.0.1")}}}},
		"classless routes replace the router": {ack(t, ip, mask, router, onlink), &lease{Addresses: own, Routes: []route{{To: netip.MustParsePrefix("192.0.2.0/24")}}}},
		"nothing but an address":              {ack(t, ip, mask), &lease{Addresses: own}},
		"no mask":                             {ack(t, ip), nil},
		"no address":                          {ack(t, mask), nil},
	} {
		var got lease
		err := got.take4(c.ack)
		if (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && !reflect.DeepEqual(&got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, *c.want)
		}
	}
}

func TestReadAdvertisement(t *testing.T) {
	ra := func(options ...byte) []byte {
		return append([]byte{134, 0, 0, 0, 64, 0xc0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, options...)
	}
	dead := ra()
	dead[6] = 0
	for name, c := range map[string]struct {
		b   []byte
		mtu int
		ok  bool
	}{
		"plain":            {ra(), 0, true},
		"with MTU":         {ra(1, 1, 2, 0, 0, 0, 0, 1, 5, 1, 0, 0, 0, 0, 5, 0x78), 1400, true},
		"lifetime 0":       {dead, 0, false},
		"a solicitation":   {[]byte{133, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, false},
		"truncated":        {ra()[:15], 0, false},
		"option truncated": {ra(5, 2, 0, 0, 0, 0, 5, 0x78), 0, false},
		"option of none":   {ra(5, 0, 0, 0, 0, 0, 5, 0x78), 0, false},
	} {
		if mtu, ok := readAdvertisement(c.b); mtu != c.mtu || ok != c.ok {
			t.Errorf("%s: %d, %v", name, mtu, ok)
		}
	}
}

func FuzzReadAdvertisement(f *testing.F) {
	f.Add([]byte{134, 0, 0, 0, 64, 0xc0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0, 5, 0x78})
	f.Fuzz(func(t *testing.T, b []byte) { readAdvertisement(b) })
}

func TestDeviceNames(t *testing.T) {
	if got := Device(1<<22 - 2); got != "rfp3ffffe" || len(got) > 15 {
		t.Errorf("got %s", got)
	}
}
