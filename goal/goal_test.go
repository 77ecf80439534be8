package goal_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ringfence/goal"
	"ringfence/goal/random"
)

// hosts draws the goals of a random fabric.
func hosts(t *rapid.T) []*goal.Host {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
	return random.Hosts(r, rapid.IntRange(1, 30).Draw(t, "size"))
}

var same = cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}

func TestJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, h := range hosts(t) {
			b, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			var back goal.Host
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(h, &back, same); d != "" {
				t.Fatalf("a goal changed on its way through JSON:\n%s", d)
			}
			if goal.Hash(h) != goal.Hash(&back) || goal.Text(h) != goal.Text(&back) {
				t.Fatal("hash or text differ after JSON")
			}
		}
	})
}

// Every field of a goal shows in its text, also fields that are added later: each one is changed in turn.
func TestTextHoldsEveryField(t *testing.T) {
	h := full()
	text := goal.Text(h)
	n := 0
	eachField(reflect.ValueOf(h).Elem(), "Host", func(path string, v reflect.Value) {
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		change(t, path, v)
		if goal.Text(h) == text {
			t.Errorf("the text does not show %s", path)
		}
		if goal.Hash(h) == goal.Hash(full()) && path != "Host.Generation" {
			t.Errorf("the hash does not cover %s", path)
		}
		v.Set(old)
		n++
	})
	if n < 70 {
		t.Errorf("only %d fields were changed", n)
	}
	if goal.Text(h) != text {
		t.Error("the test did not restore the goal")
	}
}

func full() *goal.Host {
	a, p := netip.MustParseAddr("10.0.0.4"), netip.MustParsePrefix("10.0.0.0/24")
	m := goal.Match{Prefixes: []netip.Prefix{p}, Sets: []string{"tag:Storage"}}
	ranges := []goal.PortRange{{Lo: 80, Hi: 81}}
	rules := func() []goal.Rule {
		return []goal.Rule{{Name: "securityRules/a", Priority: 100, Allow: true, Protocol: goal.TCP, Src: m, Dst: m, SrcPorts: ranges, DstPorts: ranges}}
	}
	clone := func(h *goal.Host) *goal.Host { // so that no two fields share memory
		b, _ := json.Marshal(h)
		var c goal.Host
		_ = json.Unmarshal(b, &c)
		return &c
	}
	return clone(&goal.Host{Name: "host1", Generation: 7, Underlay: netip.MustParseAddr("198.18.0.11"),
		Ports: []goal.Port{{Index: 1, ID: "nic", VM: "vm", Sandbox: goal.Sandbox{Name: "sb", HostName: "hn", Device: "eth0"}, MAC: goal.MAC{2},
			VNI: 9, Addresses: []goal.Address{{IP: a, Subnet: p}}, NICGroup: "g", SubnetGroup: "s", SubnetID: "sub", DNS: []netip.Addr{a}, Domain: "d", MTU: 1500,
			Compute: goal.Compute{Name: "n", Keys: []goal.Key{{Path: "p", Data: "k"}}, Tags: []goal.Tag{{Name: "a", Value: "b"}}}}},
		Forwarders: []netip.AddrPort{netip.AddrPortFrom(a, 53)},
		VNets: []goal.VNet{{VNI: 9, ID: "v", Prefixes: []netip.Prefix{p}, Sets: []goal.Set{{Name: "n", Prefixes: []netip.Prefix{p}}}, Endpoints: []goal.Endpoint{{IP: a, Host: a, Port: 1}},
			Domain: "d", Names: []goal.Name{{Host: "h", IPs: []netip.Addr{a}}}, Zones: []goal.ZoneLink{{Zone: "z"}}}},
		Zones:  []goal.Zone{{ID: "z", Name: "a.b", Records: []goal.Record{{Name: "@", Type: "A", TTL: 5, Data: [][]string{{"10.0.0.1"}}}}}},
		Groups: []goal.Group{{ID: "g", In: rules(), Out: rules()}}})
}

// eachField visits every settable leaf: basic values, addresses, MACs, and every slice's last element being gone.
func eachField(v reflect.Value, path string, visit func(string, reflect.Value)) {
	switch v.Interface().(type) {
	case netip.Addr, netip.AddrPort, netip.Prefix, goal.MAC:
		visit(path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			eachField(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Slice:
		visit(path, v)
		for i := range v.Len() {
			eachField(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	default:
		visit(path, v)
	}
}

func change(t *testing.T, path string, v reflect.Value) {
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("fd00::7")))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("[fd00::7]:53")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("fd00::/64")))
		return
	case goal.MAC:
		v.Index(5).SetUint(99)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Slice:
		if v.Len() == 0 {
			t.Fatalf("%s: the full goal has an empty list", path)
		}
		v.Set(v.Slice(0, v.Len()-1))
	default:
		t.Fatalf("%s: the test cannot change a %s", path, v.Kind())
	}
}

func TestHashLeavesOutTheGeneration(t *testing.T) {
	a, b := full(), full()
	b.Generation++
	if goal.Hash(a) != goal.Hash(b) {
		t.Error("goals that differ only in their generation have different hashes")
	}
	if a.Groups[0].Hash() == (goal.Group{ID: "g"}).Hash() {
		t.Error("groups with different rules have one hash")
	}
}

// Names cannot forge lines: a text stays unambiguous with any name in it.
func TestNamesCannotForgeText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := full(), full()
		a.Name, b.Name = rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		a.Ports[0].Domain, b.Ports[0].Domain = rapid.String().Draw(t, "c"), rapid.String().Draw(t, "d")
		equal := a.Name == b.Name && a.Ports[0].Domain == b.Ports[0].Domain
		if got := goal.Text(a) == goal.Text(b); got != equal {
			t.Fatalf("%q %q and %q %q: equal texts: %t", a.Name, a.Ports[0].Domain, b.Name, b.Ports[0].Domain, got)
		}
		if n := strings.Count(goal.Text(a), "\n"); n != strings.Count(goal.Text(full()), "\n") {
			t.Fatalf("%q made lines", a.Name)
		}
	})
}

func TestMAC(t *testing.T) {
	m := goal.MAC{0x02, 0x52, 0x46, 0, 0, 0x1f}
	if m.String() != "02:52:46:00:00:1f" {
		t.Errorf("got %s", m)
	}
	if back, err := goal.ParseMAC("02:52:46:00:00:1F"); err != nil || back != m {
		t.Errorf("got %s, %v", back, err)
	}
	for _, bad := range []string{"", "02:52:46:00:00", "02:52:46:00:00:1f:00", "2:52:46:0:0:1f", "02-52-46-00-00-1f", "0g:00:00:00:00:00", "02:52:46:00:00:1ff"} {
		if _, err := goal.ParseMAC(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzMAC(f *testing.F) {
	f.Add("02:52:46:00:00:01")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := goal.ParseMAC(s)
		if err == nil && !strings.EqualFold(m.String(), s) {
			t.Errorf("%q was read as %s", s, m)
		}
	})
}
