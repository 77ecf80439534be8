package verify

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
)

// A three-tier application: web, app and db in subnets of one VNet, and a stranger in another with the same addresses.

const (
	nsgDB  = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/networkSecurityGroups/db-nsg"
	nsgWeb = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/networkSecurityGroups/web-nsg"
	prod   = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/prod"
	asgApp = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/applicationSecurityGroups/app"
)

var (
	anyone  = goal.Match{Any: true}
	anyPort = []goal.PortRange{goal.AnyPort}
)

func pfx(s ...string) (out []netip.Prefix) {
	for _, x := range s {
		out = append(out, netip.MustParsePrefix(x))
	}
	return out
}

func set(s string) goal.Match { return goal.Match{Sets: []string{s}} }

func rule(name string, priority uint16, allow bool, protocol uint8, src, dst goal.Match, port ...uint16) goal.Rule {
	r := goal.Rule{Name: "securityRules/" + name, Priority: priority, Allow: allow, Protocol: protocol, Src: src, Dst: dst, SrcPorts: anyPort, DstPorts: anyPort}
	if len(port) > 0 {
		r.DstPorts = nil
	}
	for _, p := range port {
		r.DstPorts = append(r.DstPorts, goal.PortRange{Lo: p, Hi: p})
	}
	return r
}

func defaults(in, out []goal.Rule) ([]goal.Rule, []goal.Rule) {
	d := func(name string, priority uint16, allow bool, src, dst goal.Match) goal.Rule {
		return goal.Rule{Name: "defaultSecurityRules/" + name, Priority: priority, Allow: allow, Src: src, Dst: dst, SrcPorts: anyPort, DstPorts: anyPort}
	}
	vn := set(goal.SetVirtualNetwork)
	return append(in, d("AllowVnetInBound", 65000, true, vn, vn), d("AllowAzureLoadBalancerInBound", 65001, true, set(goal.SetAzureLoadBalancer), anyone), d("DenyAllInBound", 65500, false, anyone, anyone)),
		append(out, d("AllowVnetOutBound", 65000, true, vn, vn), d("AllowInternetOutBound", 65001, true, anyone, set(goal.SetInternet)), d("DenyAllOutBound", 65500, false, anyone, anyone))
}

func nsg(id string, in, out []goal.Rule) goal.Group {
	in, out = defaults(in, out)
	return goal.Group{ID: id, In: in, Out: out}
}

// shop is the host's goal; change edits the rules of the database's NSG.
func shop(dbRules ...goal.Rule) *goal.Host {
	h := &goal.Host{Name: "host1", Generation: 1, Underlay: netip.MustParseAddr("198.18.0.11")}
	vnet := func(vni uint32, id string) goal.VNet {
		return goal.VNet{VNI: vni, ID: id, Prefixes: pfx("10.0.0.0/16"), Sets: []goal.Set{
			{Name: "asg:" + asgApp, Prefixes: pfx("10.0.2.4/32")},
			{Name: goal.SetAzureLoadBalancer, Prefixes: pfx("168.63.129.16/32")},
			{Name: goal.SetInternet, Prefixes: pfx("8.0.0.0/7", "203.0.113.0/24")},
			{Name: goal.SetVirtualNetwork, Prefixes: pfx("10.0.0.0/16", "168.63.129.16/32")},
		}}
	}
	h.VNets = []goal.VNet{vnet(100, prod), vnet(200, prod+"-other")}
	port := func(index, vni uint32, name, ip, subnet, group string) {
		a := netip.MustParseAddr(ip)
		p, _ := a.Prefix(24)
		v := &h.VNets[0]
		if vni == 200 {
			v = &h.VNets[1]
		}
		h.Ports = append(h.Ports, goal.Port{Index: index, ID: prod[:strings.Index(prod, "virtual")] + "networkInterfaces/" + name, VM: "/vms/x/" + name, MAC: goal.MAC{2, 0, 0, 0, 0, byte(index)},
			VNI: vni, Addresses: []goal.Address{{IP: a, Subnet: p, Primary: true}}, SubnetGroup: group, SubnetID: v.ID + "/subnets/" + subnet})
		v.Endpoints = append(v.Endpoints, goal.Endpoint{IP: a, Host: h.Underlay, Port: index, MAC: goal.MAC{2, 0, 0, 0, 0, byte(index)}})
	}
	port(1, 100, "web1", "10.0.1.4", "web", nsgWeb)
	port(2, 100, "web2", "10.0.1.5", "web", nsgWeb)
	port(3, 100, "app1", "10.0.2.4", "app", "")
	port(4, 100, "db1", "10.0.3.4", "db", nsgDB)
	port(5, 200, "stranger", "10.0.3.5", "db", nsgDB)
	if dbRules == nil {
		dbRules = []goal.Rule{
			rule("allow-app", 100, true, goal.TCP, set("asg:"+asgApp), anyone, 1433),
			rule("deny-vnet", 200, false, goal.ProtocolAny, anyone, anyone),
		}
	}
	h.Groups = []goal.Group{nsg(nsgDB, dbRules, nil), nsg(nsgWeb, []goal.Rule{rule("https", 100, true, goal.TCP, set(goal.SetInternet), anyone, 443)}, nil)}
	return h
}

func network(t testing.TB, h *goal.Host, more ...Unsupported) *Network {
	t.Helper()
	n, err := New(Source{Hosts: []*goal.Host{h}, Unsupported: more}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var zones = Zones{
	"web": {Subnets: []string{"prod/web"}}, "app": {ASGs: []string{"app"}}, "db": {Subnets: []string{"prod/db"}}, "net": {Tags: []string{"Internet"}},
	"stranger": {NICs: []string{"stranger"}}, "corp": {Prefixes: pfx("10.20.0.0/16")},
}

func tcp(from, to string, port uint16) *Traffic {
	return &Traffic{From: from, To: to, Protocols: []uint8{goal.TCP}, DstPorts: []goal.PortRange{{Lo: port, Hi: port}}}
}

func TestAssertions(t *testing.T) {
	zones := zones
	for _, c := range []struct {
		name   string
		rules  []goal.Rule
		a      Assertion
		more   []Unsupported
		status Status
		text   string // in Text
	}{
		{"closed but for the application", nil, Assertion{None: &Traffic{To: "db"}, Except: []Traffic{*tcp("app", "db", 1433)}}, nil, Holds, ""},
		{"closed", nil, Assertion{None: &Traffic{To: "db"}}, nil, Violated, "10.0.2.4"},
		{"an exception of the wrong port", nil, Assertion{None: &Traffic{To: "db"}, Except: []Traffic{*tcp("app", "db", 1434)}}, nil, Violated, ":1433"},
		{"open", nil, Assertion{All: tcp("app", "db", 1433)}, nil, Holds, ""},
		{"open for all", nil, Assertion{All: tcp("", "db", 1433)}, nil, Violated, ":1433"},
		{"open for web", nil, Assertion{All: tcp("web", "db", 1433)}, nil, Violated, "10.0.1.4"},
		{"all within a subnet, but to oneself", nil, Assertion{All: &Traffic{From: "web", To: "web"}}, nil, Holds, ""},
		{"all but an exception", nil, Assertion{All: &Traffic{From: "app", To: "db"}, Except: []Traffic{{From: "app", To: "db", DstPorts: []goal.PortRange{{Lo: 0, Hi: 1432}, {Lo: 1434, Hi: 65535}}}}}, nil, Violated, "icmp"},
		{"some", nil, Assertion{Some: &Traffic{From: "app", To: "db"}}, nil, Holds, "10.0.2.4"},
		{"some that none is", nil, Assertion{Some: &Traffic{From: "web", To: "db"}}, nil, Violated, "10.0.1.4"},
		{"to another virtual network", nil, Assertion{Some: &Traffic{From: "app", To: "stranger"}}, nil, Violated, ""},
		{"all to another virtual network", nil, Assertion{All: tcp("app", "stranger", 1433)}, nil, Violated, ""},
		{"none to another virtual network", nil, Assertion{None: &Traffic{From: "app", To: "stranger"}}, nil, Holds, "no way"},
		{"the Internet to the web, by rules", nil, Assertion{None: &Traffic{From: "net", To: "web"}}, nil, Violated, "taken as given"},
		{"the Internet to the web, all", nil, Assertion{All: tcp("net", "web", 443)}, nil, Unknown, "a way from outside"},
		{"the Internet to the web, all, closed by rules", nil, Assertion{All: tcp("net", "web", 444)}, nil, Violated, ":444"},
		{"the Internet to the web, some", nil, Assertion{Some: tcp("net", "web", 443)}, nil, Unknown, "a way from outside"},
		{"the Internet to the database", nil, Assertion{None: &Traffic{From: "net", To: "db"}}, nil, Holds, ""},
		{"corp to the database", nil, Assertion{None: &Traffic{From: "corp", To: "db"}}, nil, Holds, ""},
		{"something unsupported", nil, Assertion{None: &Traffic{From: "web", To: "db"}}, []Unsupported{{ID: "a-firewall", VNets: []string{prod}}}, Unknown, "a-firewall"},
		{"something unsupported elsewhere", nil, Assertion{None: &Traffic{From: "web", To: "db"}}, []Unsupported{{ID: "a-firewall", VNets: []string{"/x"}}}, Holds, ""},
		{"something unsupported at the edge, between NICs", nil, Assertion{None: &Traffic{From: "web", To: "db"}}, []Unsupported{{ID: "an-address", Edge: true}}, Holds, ""},
		{"something unsupported at the edge", nil, Assertion{None: &Traffic{From: "net", To: "db"}}, []Unsupported{{ID: "an-address", Edge: true}}, Unknown, "an-address"},
		{"violated in spite of it", nil, Assertion{None: &Traffic{From: "app", To: "db"}}, []Unsupported{{ID: "a-firewall"}}, Violated, ""},
		{"through", nil, Assertion{All: &Traffic{From: "web", To: "web", Through: "nva/fw1"}}, nil, Unknown, "nva/fw1"},
		{"a packet and its rule", nil, Assertion{Packet: &Probe{Traffic: *tcp("web", "db", 1433), Src: netip.MustParseAddr("10.0.1.5"), Rule: "db-nsg/deny-vnet"}}, nil, Holds, ""},
		{"a packet and another rule", nil, Assertion{Packet: &Probe{Traffic: *tcp("web", "db", 1433), Rule: "db-nsg/allow-app"}}, nil, Violated, "deny-vnet"},
		{"a packet that arrives", nil, Assertion{Packet: &Probe{Traffic: *tcp("app", "db", 1433), Allow: true, Rule: "allow-app"}}, nil, Holds, ""},
		{"a packet that should not", nil, Assertion{Packet: &Probe{Traffic: *tcp("app", "db", 1433)}}, nil, Violated, "arrives"},
		{"by type", []goal.Rule{rule("ping", 100, true, goal.ICMP, anyone, anyone, 8), rule("no", 200, false, goal.ProtocolAny, anyone, anyone)}, Assertion{All: &Traffic{From: "web", To: "db", Protocols: []uint8{goal.ICMP}, ICMPTypes: []uint8{8}}}, nil, Holds, ""},
	} {
		n := network(t, shop(c.rules...), c.more...)
		c.a.ID = c.name
		rs, err := n.Check(Checks{zones, []Assertion{c.a}}, nil)
		if err != nil || len(rs) != 1 {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if r := rs[0]; r.Status != c.status || !strings.Contains(r.Text, c.text) {
			t.Errorf("%s: %s: %s\n%v", c.name, r.Status, r.Text, r.Hops)
		} else if r.Status == Violated && r.Witness != nil && r.Assumed == "" {
			replay(t, c.name, shop(c.rules...), *r.Witness, r.Hops)
		}
	}
}

// replay asks the model about a witness between NICs: the same verdict and the same rule.
func replay(t *testing.T, name string, h *goal.Host, w Packet, hops []Hop) {
	t.Helper()
	i := slices.IndexFunc(h.Ports, func(p goal.Port) bool { return p.ID == w.From })
	if i < 0 {
		return
	}
	v, _ := model.Send(map[string]*model.Model{h.Name: model.New(h)}, h.Name, h.Ports[i].Index, w.Frame(&h.Ports[i]))
	b := blockers(hops)
	if (v.Action == model.Deliver) != (len(b) == 0) || len(b) > 0 && (b[0].By.Rule != v.Rule || v.Group != b[0].By.Group) {
		t.Errorf("%s: %v: the model says %s, the verifier %v", name, w, v, hops)
	}
}

// What is wrong with a file of assertions is an error that names it, and never a pass.
func TestBadAssertions(t *testing.T) {
	n := network(t, shop())
	for _, c := range []struct {
		checks Checks
		want   string
	}{
		{Checks{}, "no assertion"},
		{Checks{Zones{"x": {ASGs: []string{"nobody"}}}, []Assertion{{ID: "a", None: &Traffic{To: "x"}}}}, "nobody"},
		{Checks{Zones{"x": {}}, []Assertion{{ID: "a", None: &Traffic{To: "x"}}}}, "zone x: no NIC and no address"},
		{Checks{Zones{"x": {Tags: []string{"Storage"}}}, []Assertion{{ID: "a", None: &Traffic{To: "x"}}}}, "Storage"},
		{Checks{Zones{"x": {Subnets: []string{"db"}}}, []Assertion{{ID: "a", None: &Traffic{To: "x"}}}}, "2 have that name"},
		{Checks{zones, []Assertion{{ID: "a", None: &Traffic{To: "y"}}}}, `zone "y": not defined`},
		{Checks{zones, []Assertion{{ID: "a"}}}, "exactly one"},
		{Checks{zones, []Assertion{{ID: "a", None: &Traffic{}, All: &Traffic{}}}}, "exactly one"},
		{Checks{zones, []Assertion{{ID: "a", All: &Traffic{From: "web", To: "db", Src: pfx("fd00::/8")}}}}, "no packet that it is about"},
		{Checks{zones, []Assertion{{ID: "a", All: &Traffic{From: "db", To: "db"}}}}, "no packet that it is about"},
		{Checks{zones, []Assertion{{ID: "a", Diff: &Limit{}}}}, "no other network"},
	} {
		rs, err := n.Check(c.checks, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v %v, want an error with %q", c.checks.Assert, rs, err, c.want)
		}
	}
}

func TestExplainNamesEveryBlocker(t *testing.T) {
	h := shop()
	h.Groups[1] = nsg(nsgWeb, nil, []goal.Rule{rule("no-db", 100, false, goal.TCP, anyone, anyone, 1433)})
	n := network(t, h)
	e, err := n.Explain(zones, *tcp("web", "db", 1433), true)
	if err != nil || e.Allowed != nil || e.Denied == nil {
		t.Fatalf("%+v %v", e, err)
	}
	var got []string
	for _, b := range e.Denied.Blockers {
		got = append(got, b.String())
	}
	want := []string{"outbound subnet deny by securityRules/no-db of " + nsgWeb, "inbound subnet deny by securityRules/deny-vnet of " + nsgDB}
	if e.Denied.Fix != nil || !slices.Equal(got, want) {
		t.Errorf("blockers %q fix %v: there is no free priority before 100", got, e.Denied.Fix)
	}
	h = shop()
	e, err = network(t, h).Explain(zones, *tcp("web", "db", 1433), true)
	if err != nil || len(e.Denied.Fix) != 1 || e.Denied.Fix[0].Rule.Priority != 199 || e.Denied.Pairs != 2 {
		t.Fatalf("%+v %v", e.Denied, err)
	}
	in := slices.Insert(slices.Clone(h.Groups[0].In), 1, e.Denied.Fix[0].Rule)
	h.Groups[0].In = in
	x, _ := network(t, h).Explain(zones, Traffic{From: "web", To: "db", Src: []netip.Prefix{netip.PrefixFrom(e.Denied.Witness.Src, 32)}, Protocols: []uint8{goal.TCP}, DstPorts: []goal.PortRange{{Lo: 1433, Hi: 1433}}}, true)
	if x.Allowed == nil || x.Denied != nil {
		t.Errorf("with the fix: %+v", x)
	}
	e, err = n.Explain(zones, *tcp("web", "net", 443), true)
	if err != nil || e.Allowed != nil || len(e.Denied.Blockers) != 1 || e.Denied.Blockers[0].By.ID() != "route_none" {
		t.Errorf("%+v %v", e.Denied, err)
	}
}

func TestMatrixCoverageProposal(t *testing.T) {
	n := network(t, shop())
	m, err := n.Matrix(zones, goal.TCP, []uint16{443, 1433})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range m {
		got[fmt.Sprintf("%s-%s-%d", e.From, e.To, e.Port)] = e.Verdict.String()
	}
	for k, want := range map[string]string{"app-db-1433": "all", "web-db-1433": "none", "web-app-443": "all", "net-web-443": "all", "net-db-443": "none", "corp-db-1433": "none", "app-stranger-1433": "none", "web-web-443": "all", "db-db-1433": "-"} {
		if got[k] != want {
			t.Errorf("%s: %q, want %q", k, got[k], want)
		}
	}
	checks := Checks{zones, []Assertion{{ID: "a", All: tcp("app", "db", 1433)}}}
	c, err := n.Coverage(checks)
	if err != nil || len(c.Touched) != 1 || c.Touched[0].Rule != "securityRules/allow-app" || len(c.Untouched) != 2 {
		t.Errorf("%+v %v", c, err)
	}
	p := n.Propose()
	rs, err := n.Check(p, nil)
	if err != nil || len(rs) < 5 {
		t.Fatalf("%d proposals, %v", len(rs), err)
	}
	for _, r := range rs {
		if r.Status != Holds {
			t.Errorf("proposal %s: %s", r.ID, r.Text)
		}
	}
	opened := network(t, shop(rule("all", 100, true, goal.ProtocolAny, anyone, anyone)))
	rs, err = opened.Check(p, nil)
	if !slices.ContainsFunc(rs, func(r Result) bool { return r.Status == Violated }) {
		t.Errorf("nothing of the proposal notices that the database is open: %v", err)
	}
}

func TestDiff(t *testing.T) {
	base := shop()
	d, err := Diff(network(t, base), network(t, shop()))
	if err != nil || !d.Same() {
		t.Fatalf("equal: %+v %v", d, err)
	}
	allow := rule("allow-app", 100, true, goal.TCP, set("asg:"+asgApp), anyone, 1433)
	deny := rule("deny-vnet", 200, false, goal.ProtocolAny, anyone, anyone)
	web := rule("web", 150, true, goal.TCP, goal.Match{Prefixes: pfx("10.0.1.0/24")}, anyone, 1433)
	opened := network(t, shop(allow, web, deny))
	d, err = Diff(network(t, base), opened)
	if err != nil || len(d.Changes) != 1 || d.Same() {
		t.Fatalf("%+v %v", d, err)
	}
	c := d.Changes[0]
	if !c.Allowed || c.OldBy.Rule != "securityRules/deny-vnet" || c.NewBy.Rule != "securityRules/web" || c.Packets != 2*65536-0 || c.Boxes[0].String() != "tcp from 10.0.1.4/31 to 10.0.3.4 port 1433" {
		t.Errorf("%+v %s", c, c.Boxes[0])
	}
	replay(t, "diff, old", base, c.Witness, c.Old)
	replay(t, "diff, new", shop(allow, web, deny), c.Witness, c.New)
	half := rule("web-a", 150, true, goal.TCP, goal.Match{Prefixes: pfx("10.0.1.0/25")}, anyone, 1433)
	other := rule("web-b", 160, true, goal.TCP, goal.Match{Prefixes: pfx("10.0.1.128/25")}, anyone, 1433)
	if d, err = Diff(opened, network(t, shop(allow, half, other, deny))); err != nil || !d.Same() || len(d.GroupsChanged) != 1 {
		t.Errorf("split: %+v %v", d, err)
	}
	r, err := opened.Check(Checks{zones, []Assertion{
		{ID: "only", Diff: &Limit{Only: []Traffic{*tcp("web", "db", 1433)}}},
		{ID: "other", Diff: &Limit{Only: []Traffic{*tcp("web", "db", 443)}}},
		{ID: "closed", Diff: &Limit{NeverMoreOpen: []string{"db"}}},
		{ID: "closed-app", Diff: &Limit{NeverMoreOpen: []string{"app"}}},
	}}, network(t, base))
	if err != nil || r[0].Status != Holds || r[1].Status != Violated || r[2].Status != Violated || r[3].Status != Holds {
		t.Errorf("%+v %v", r, err)
	}
}

func TestLint(t *testing.T) {
	in := []goal.Rule{
		rule("low", 100, true, goal.TCP, goal.Match{Prefixes: pfx("10.0.0.0/17")}, anyone, 22),
		rule("high", 110, false, goal.TCP, goal.Match{Prefixes: pfx("10.0.128.0/17")}, anyone, 22),
		rule("union", 120, true, goal.TCP, goal.Match{Prefixes: pfx("10.0.0.0/16")}, anyone, 22),
		rule("same", 130, true, goal.TCP, goal.Match{Prefixes: pfx("10.0.4.0/24")}, anyone, 22),
		rule("open", 140, true, goal.TCP, anyone, anyone, 22, 3389),
		rule("unneeded", 150, false, goal.UDP, goal.Match{Prefixes: pfx("192.0.2.0/24")}, anyone, 53),
		rule("elsewhere", 160, true, goal.UDP, anyone, goal.Match{Prefixes: pfx("10.9.0.0/16")}, 54),
		rule("nothing", 170, true, goal.UDP, set("asg:gone"), anyone, 53),
	}
	h := shop(in...)
	h.Groups[1] = nsg(nsgWeb, []goal.Rule{rule("no-rdp", 100, false, goal.TCP, anyone, anyone, 3389)}, nil)
	h.Ports[3].NICGroup = nsgWeb
	n, err := New(Source{Hosts: []*goal.Host{h}, Groups: []goal.Group{nsg("/x/spare", nil, nil)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	fs, unknown := n.Lint()
	if len(unknown) > 0 {
		t.Error(unknown)
	}
	got := map[string]Finding{}
	for _, f := range fs {
		got[string(f.Kind)+" "+lastName(f.Rule.Rule)] = f
	}
	for _, want := range []string{"shadowed union", "redundant same", "redundant unneeded", "irrelevant elsewhere", "irrelevant nothing", "unattached ", "exposed open"} {
		if _, ok := got[want]; !ok {
			t.Errorf("no finding %q in %v", want, fs)
		}
	}
	if c := got["shadowed union"].Covering; len(c) != 2 || c[0].Rule != "securityRules/low" || c[1].Rule != "securityRules/high" {
		t.Errorf("covering %v", c)
	}
	if c := got["redundant same"].Covering; len(c) != 1 || c[0].Rule != "securityRules/low" {
		t.Errorf("covering %v", c)
	}
	// db1's NIC denies 22 and 3389, the stranger's does not; app1 has no group at all
	if f := got["exposed open"]; f.NICs != 1 || !slices.Contains(f.Aliases, "CKV_AZURE_10") || f.Priority != 140 || !strings.HasSuffix(f.Text, "at tcp 22,tcp 3389") {
		t.Errorf("%+v", f)
	}
	if f := got["exposed "]; f.NICs != 1 || f.Rule.Group != "" {
		t.Errorf("%+v", f)
	}
	if f := got["upstream https"]; f.Kind != "" {
		t.Errorf("%+v: web1 and web2 have no other group", f)
	}
}

// What a NIC's group allows and its subnet's denies is found, with the rule that denies.
func TestLintUpstream(t *testing.T) {
	h := shop()
	h.Ports[3].NICGroup = nsgWeb // db1: https from the Internet, in a subnet that denies it
	h.Ports[0].SubnetGroup, h.Ports[1].SubnetGroup = "", ""
	fs, _ := network(t, h).Lint()
	i := slices.IndexFunc(fs, func(f Finding) bool { return f.Kind == Upstream })
	if i < 0 || fs[i].Rule.Rule != "securityRules/https" || fs[i].Covering[0].Rule != "securityRules/deny-vnet" || fs[i].NICs != 1 {
		t.Fatalf("%+v", fs)
	}
	h.Ports[0].NICGroup = nsgWeb // web1 has no subnet group: now the rule is of use
	fs, _ = network(t, h).Lint()
	if slices.ContainsFunc(fs, func(f Finding) bool { return f.Kind == Upstream }) {
		t.Errorf("%+v", fs)
	}
}

// Everything that lint calls neutral can be removed at once: of two rules that each could go without the other it names one.
func TestLintAdviceIsNeutralTogether(t *testing.T) {
	removed := 0
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 61))
		m := random.Manners[seed%3]
		rules := random.List(r, 80, m, false)
		for k := 10; k < 70; k += 10 {
			rules[k].Src, rules[k].Dst, rules[k].Allow = rules[k-1].Src, rules[k-1].Dst, rules[k-1].Allow // near copies
		}
		for i := range rules {
			rules[i].Priority = uint16(100 + i)
			if i < len(rules)-1 {
				rules[i].Name = fmt.Sprintf("securityRules/r%d", i)
			}
		}
		h := shop(rules[:80]...)
		before := slices.Clone(h.Groups[0].In)
		fs, _ := network(t, h).Lint()
		var after []goal.Rule
		for _, x := range before {
			neutral := slices.ContainsFunc(fs, func(f Finding) bool {
				return f.Neutral && f.Rule.Group == nsgDB && f.Rule.Rule == x.Name && f.Direction == In
			})
			if neutral {
				removed++
			} else {
				after = append(after, x)
			}
		}
		sets := Resolve{}
		for _, s := range h.VNets[0].Sets {
			sets[s.Name] = s
		}
		if yes, known := Equivalent(before, after, sets, sets); !yes || !known {
			t.Errorf("seed %d: removing %d of %d rules changes verdicts", seed, len(before)-len(after), len(before))
		}
	}
	if removed < 20 {
		t.Errorf("%d rules removed: the test shows little", removed)
	}
}
