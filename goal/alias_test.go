package goal_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"ringfence/goal"
)

func TestAliases(t *testing.T) {
	for port, want := range map[uint32]string{1: "100.64.0.1", 256: "100.64.1.0", 1 << 16: "100.65.0.0", goal.MaxPort: "100.127.255.254"} {
		if got := goal.Alias(port); got.String() != want {
			t.Errorf("port %d has alias %s, want %s", port, got, want)
		}
	}
	for _, s := range []string{"100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0", "10.0.0.4", "::1", "fd00::6440:1"} {
		if port, ok := goal.PortOf(netip.MustParseAddr(s)); ok {
			t.Errorf("%s is taken for an alias of port %d", s, port)
		}
	}
	if _, ok := goal.PortOf(netip.Addr{}); ok {
		t.Error("no address is an alias")
	}
	rapid.Check(t, func(t *rapid.T) {
		port := rapid.Uint32Range(1, goal.MaxPort).Draw(t, "port")
		a := goal.Alias(port)
		if got, ok := goal.PortOf(a); !ok || got != port {
			t.Fatalf("port %d has alias %s, which is port %d's", port, a, got)
		}
		if got, ok := goal.PortOf(netip.AddrFrom16(a.As16())); !ok || got != port {
			t.Fatalf("mapped into IPv6 %s is port %d's", a, got)
		}
	})
}
