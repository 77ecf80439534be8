package datapath

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/goal/random"
	"ringfence/observe"
)

func anyDevice(port uint32) (int, bool) { return int(port%1000) + 2000, true }

// differing are the parts that differ, with what is said of them.
func differing(t *testing.T, d *Datapath, h *goal.Host, all bool) (out []string) {
	t.Helper()
	proofs, err := d.Prove(h, anyDevice, all)
	if err != nil {
		t.Fatal(err)
	}
	if all && len(proofs) < 2+len(h.VNets) {
		t.Fatalf("only %d parts of %d virtual networks: %v", len(proofs), len(h.VNets), proofs)
	}
	for _, p := range proofs {
		for _, f := range p.Differences {
			out = append(out, p.Part+": "+f.At+": loaded "+f.Loaded+", goal "+f.Goal)
		}
	}
	return out
}

// TestLoadedIsTheGoal applies goals one after the other: what is loaded is proved equal to each, and not to another one.
func TestLoadedIsTheGoal(t *testing.T) {
	o := testOptions(t)
	o.Ports, o.Groups = 256, 1024
	d := openTest(t, o)
	groups, strange := 0, 0
	for seed := range uint64(12) {
		h := oneHost(random.Hosts(rand.New(rand.NewPCG(seed, 5)), []int{8, 40, 200}[seed%3]))
		h.Underlay, h.Generation = o.Underlay, seed+1
		for i := range h.VNets {
			for k := range h.VNets[i].Endpoints {
				h.VNets[i].Endpoints[k].Host = o.Underlay
			}
		}
		if seed > 0 && differing(t, d, h, true) != nil {
			strange++
			d.proofs.broken = false
		}
		if err := d.Apply(t.Context(), h, anyDevice); err != nil {
			t.Fatal(err)
		}
		for _, all := range []bool{false, true, false} {
			if found := differing(t, d, h, all); found != nil {
				t.Fatalf("seed %d: %s", seed, strings.Join(found, "\n"))
			}
		}
		for range 3 * (len(h.Groups) + len(h.VNets)) {
			p, err := d.ProveNext(h)
			if err != nil || len(p) == 0 || p[0].Differences != nil {
				t.Fatalf("seed %d: the next part: %v, %v", seed, p, err)
			}
		}
		groups += len(d.proofs.groups)
	}
	if groups < 20 || strange < 10 {
		t.Errorf("%d groups proved, %d goals told from another: the test shows little", groups, strange)
	}
}

// poked is a small goal with one of everything that can be wrong.
func poked(o Options) *goal.Host {
	p := netip.MustParsePrefix
	any := []goal.PortRange{goal.AnyPort}
	rule := func(name string, prio uint16, allow bool, src, dst goal.Match, ports ...goal.PortRange) goal.Rule {
		r := goal.Rule{Name: name, Priority: prio, Allow: allow, Protocol: goal.TCP, Src: src, Dst: dst, SrcPorts: any, DstPorts: ports}
		if ports == nil {
			r.Protocol, r.DstPorts = goal.ProtocolAny, any
		}
		return r
	}
	web := goal.Match{Sets: []string{"asg:web"}}
	deny := rule("defaultSecurityRules/DenyAllInBound", 65500, false, goal.Match{Any: true}, goal.Match{Any: true})
	vnet := goal.VNet{VNI: 7, ID: "/vnets/v", Prefixes: []netip.Prefix{p("10.0.0.0/16")}, Sets: []goal.Set{{Name: "asg:web", Prefixes: []netip.Prefix{p("10.0.1.4/32")}}}}
	h := &goal.Host{Name: "h", Generation: 1, Underlay: o.Underlay, Groups: []goal.Group{{ID: "/nsgs/web",
		In:  []goal.Rule{rule("securityRules/ssh", 100, true, goal.Match{Prefixes: []netip.Prefix{p("192.0.2.0/24")}}, web, goal.PortRange{Lo: 22, Hi: 22}), deny},
		Out: []goal.Rule{deny}}}}
	for i, ip := range []string{"10.0.1.4", "10.0.1.5"} {
		a := netip.MustParseAddr(ip)
		mac := goal.MAC{2, 0, 0, 0, 0, byte(i)}
		h.Ports = append(h.Ports, goal.Port{Index: uint32(i + 1), ID: "/nics/" + ip, MAC: mac, VNI: 7, NICGroup: "/nsgs/web",
			Addresses: []goal.Address{{IP: a, Subnet: p("10.0.1.0/24"), Primary: true}}})
		vnet.Endpoints = append(vnet.Endpoints, goal.Endpoint{IP: a, Host: o.Underlay, Port: uint32(i + 1), MAC: mac})
	}
	h.VNets = []goal.VNet{vnet}
	return h
}

// pinnedMap opens a map as somebody else would who knows where it is pinned.
func pinnedMap(t testing.TB, o Options, name string) *ebpf.Map {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(o.Pin, "maps-"+layout, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// pokeBlob changes the value that the only word of a map of words points to.
func pokeBlob(t *testing.T, o Options, words string, in []sizeClass, change func(b []byte)) {
	t.Helper()
	m := pinnedMap(t, o, words)
	for slot := range m.MaxEntries() {
		var w blobWord
		if err := m.Lookup(slot, &w); err != nil {
			t.Fatal(err)
		}
		if w.class() == 0 {
			continue
		}
		var inner *ebpf.Map
		if err := pinnedMap(t, o, in[w.class()-1].name).Lookup(w.slot(), &inner); err != nil {
			t.Fatal(err)
		}
		defer inner.Close()
		var b []byte
		if err := inner.Lookup(uint32(0), &b); err != nil {
			t.Fatal(err)
		}
		change(b)
		if err := inner.Put(uint32(0), b); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no word is in force")
}

func pokeValue[K, V any](t *testing.T, o Options, name string, key K, change func(v *V)) {
	t.Helper()
	m := pinnedMap(t, o, name)
	var v V
	if err := m.Lookup(key, &v); err != nil {
		t.Fatal(err)
	}
	change(&v)
	if err := m.Put(key, v); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedBits writes into loaded maps behind the data plane's back: it is found, both sides are named, and the next Apply heals it.
func TestFlippedBits(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	h := poked(o)
	if err := d.Apply(t.Context(), h, anyDevice); err != nil {
		t.Fatal(err)
	}
	if found := differing(t, d, h, true); found != nil {
		t.Fatal(found)
	}
	const in = 8 + 160
	le := binary.LittleEndian
	group := func(change func(b []byte)) func(*testing.T) {
		return func(t *testing.T) { pokeBlob(t, o, "group_words", groupClasses, change) }
	}
	slotOf := func(index uint32) uint32 { return d.kernel.ports[index].slot }
	first := endpointKeyOf(7, netip.MustParseAddr("10.0.1.4"))
	cases := []struct {
		name, part, want string
		poke             func(t *testing.T)
	}{
		{"an action", "group /nsgs/web", "loaded defaultSecurityRules/DenyAllInBound allows, goal defaultSecurityRules/DenyAllInBound denies",
			group(func(b []byte) { b[le.Uint32(b[in+20:])+8+7] ^= 0x80 })},
		{"every vector", "group /nsgs/web", "matches", group(func(b []byte) {
			for v := range 3 {
				b[int(le.Uint32(b[in+16:]))+8*v] ^= 1
			}
		})},
		{"a border of a port", "group /nsgs/web", "destination port 23-24: loaded matches securityRules/ssh, goal does not match securityRules/ssh",
			group(func(b []byte) {
				at := le.Uint32(b[in+120:])
				for i := range uint32(4) {
					if le.Uint16(b[at+2*i:]) == 23 {
						le.PutUint16(b[at+2*i:], 25)
					}
				}
			})},
		{"a border of an address", "group /nsgs/web", "source 192.0.2.0-192.0.2.", group(func(b []byte) { b[le.Uint32(b[in+40:])+4] ^= 0x10 })},
		{"the protocol", "group /nsgs/web", "protocol udp", group(func(b []byte) { copy(b[in+138:in+140], b[in+136:in+138]) })},
		{"a class", "group /nsgs/web", "destination in asg:web", group(func(b []byte) {
			at := le.Uint32(b[in+32:])
			b[at], b[at+2] = b[at+2], b[at]
		})},
		{"an offset", "group /nsgs/web", "it points outside of itself", group(func(b []byte) { le.PutUint32(b[in+40:], 1<<30) })},
		{"the table of addresses", "table of /vnets/v", "10.0.1.4-10.0.1.4: loaded in no set, goal in asg:web", func(t *testing.T) {
			pokeBlob(t, o, "vnet_words", tableClasses, func(b []byte) {
				starts, values, n := le.Uint32(b[8:]), le.Uint32(b[12:]), 2*le.Uint64(b[16:])
				for i := range uint32(n) {
					if netip.AddrFrom4([4]byte{10, 0, 1, 4}) == netip.AddrFrom4([4]byte{b[starts+4*i+3], b[starts+4*i+2], b[starts+4*i+1], b[starts+4*i]}) {
						copy(b[values+4*i:values+4*i+4], b[values+4*(i-1):])
					}
				}
			})
		}},
		{"the group that a word points to", "group /nsgs/web", "names no table", func(t *testing.T) {
			pokeValue(t, o, "group_words", d.kernel.groups[groupKey{hash16([]byte("/nsgs/web")), 7}].slot, func(w *uint64) { *w |= 0xff })
		}},
		{"an endpoint's host", "endpoints", "10.0.1.4 of virtual network 7: loaded port 1 slot 1 at host 198.18.0.10", func(t *testing.T) {
			pokeValue(t, o, "endpoints", first, func(v *endpointValue) { v.Host[3] ^= 1 })
		}},
		{"an endpoint's class", "endpoints", "class", func(t *testing.T) { pokeValue(t, o, "endpoints", first, func(v *endpointValue) { v.Class ^= 1 }) }},
		{"an endpoint that is gone", "endpoints", "loaded absent", func(t *testing.T) {
			if err := pinnedMap(t, o, "endpoints").Delete(first); err != nil {
				t.Fatal(err)
			}
		}},
		{"a port's group", "ports", "port 1 NIC's group: loaded false, goal true", func(t *testing.T) {
			for half := range uint32(2) {
				pokeValue(t, o, "port_records", 2*slotOf(1)+half, func(r *portRecord) { r.NICGroup = 0 })
			}
		}},
		{"a port's address", "ports", "port 2 address 10.0.1.4: loaded its own", func(t *testing.T) {
			for half := range uint32(2) {
				pokeValue(t, o, "port_records", 2*slotOf(2)+half, func(r *portRecord) { r.IP4[1][3] = 4 })
			}
		}},
		{"a port that is down", "ports", "port 1 up: loaded false, goal true", func(t *testing.T) {
			pokeValue(t, o, "port_words", slotOf(1), func(w *uint64) { *w &^= 2 })
		}},
		{"a port that nobody has", "ports", "is up, goal no such port", func(t *testing.T) { pokeValue(t, o, "port_words", uint32(9), func(w *uint64) { *w |= 2 }) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.poke(t)
			found := strings.Join(differing(t, d, h, true), "\n")
			if !strings.Contains(found, c.part) || !strings.Contains(found, c.want) {
				t.Errorf("found %q, not %q of %q", found, c.want, c.part)
			}
			t.Log(found)
			if err := d.Apply(t.Context(), h, anyDevice); err != nil {
				t.Fatal(err)
			}
			if left := differing(t, d, h, true); left != nil {
				t.Errorf("not healed: %v", left)
			}
		})
	}
}

// TestNextFindsIt: what is looked at part by part comes to every part.
func TestNextFindsIt(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	h := poked(o)
	if err := d.Apply(t.Context(), h, anyDevice); err != nil {
		t.Fatal(err)
	}
	if found := differing(t, d, h, false); found != nil {
		t.Fatal(found)
	}
	pokeBlob(t, o, "group_words", groupClasses, func(b []byte) { b[binary.LittleEndian.Uint32(b[8+160+20:])+8+7] ^= 0x80 })
	if found := differing(t, d, h, false); found != nil {
		t.Fatalf("proved again though nothing was touched: %v", found)
	}
	var found []observe.Difference
	for range 2 {
		p, err := d.ProveNext(h)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range p {
			found = append(found, one.Differences...)
		}
	}
	if len(found) != 1 {
		t.Errorf("found %v", found)
	}
}
