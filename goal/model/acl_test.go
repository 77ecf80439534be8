package model_test

import (
	"fmt"
	"slices"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

func TestMatch(t *testing.T) {
	s := model.Sets{"asg:web": {prefix("10.0.1.4/32"), prefix("fd00::4/128")}, "empty": nil}
	tuple := func(protocol uint8, src, dst string, sport, dport uint16) model.Tuple {
		return model.Tuple{Src: ip(src), Dst: ip(dst), Protocol: protocol, SrcPort: sport, DstPort: dport}
	}
	r := func(change func(*goal.Rule)) goal.Rule {
		r := goal.Rule{Src: anyone, Dst: anyone, SrcPorts: any4, DstPorts: any4}
		change(&r)
		return r
	}
	tcp := tuple(goal.TCP, "10.0.1.4", "10.0.2.4", 40000, 443)
	tcp6 := tuple(goal.TCP, "fd00::4", "fd00::5", 40000, 443)
	echo := tuple(goal.ICMP, "10.0.1.4", "10.0.2.4", 8, 8)
	echo6 := tuple(goal.ICMPv6, "fd00::4", "fd00::5", 128, 128)
	esp := tuple(goal.ESP, "10.0.1.4", "10.0.2.4", 0, 0)
	for _, c := range []struct {
		name string
		rule goal.Rule
		yes  []model.Tuple
		no   []model.Tuple
	}{
		{"everything", r(func(*goal.Rule) {}), []model.Tuple{tcp, tcp6, echo, echo6, esp}, nil},
		{"tcp", r(func(r *goal.Rule) { r.Protocol = goal.TCP }), []model.Tuple{tcp, tcp6}, []model.Tuple{echo, echo6, esp}},
		{"icmp of both families", r(func(r *goal.Rule) { r.Protocol = goal.ICMP }), []model.Tuple{echo, echo6}, []model.Tuple{tcp, esp}},
		{"esp", r(func(r *goal.Rule) { r.Protocol = goal.ESP }), []model.Tuple{esp}, []model.Tuple{tcp, echo}},
		{"every IPv4 source", r(func(r *goal.Rule) { r.Src = net("0.0.0.0/0") }), []model.Tuple{tcp, echo, esp}, []model.Tuple{tcp6, echo6}},
		{"every IPv6 source", r(func(r *goal.Rule) { r.Src = net("::/0") }), []model.Tuple{tcp6, echo6}, []model.Tuple{tcp, echo, esp}},
		{"a set", r(func(r *goal.Rule) { r.Src = sets("asg:web") }), []model.Tuple{tcp, tcp6}, []model.Tuple{tuple(goal.TCP, "10.0.1.5", "10.0.2.4", 1, 1)}},
		{"an empty set", r(func(r *goal.Rule) { r.Src = sets("empty") }), nil, []model.Tuple{tcp, tcp6}},
		{"a set that is not there", r(func(r *goal.Rule) { r.Dst = sets("gone") }), nil, []model.Tuple{tcp, tcp6}},
		{"a set or a prefix", r(func(r *goal.Rule) { r.Dst = goal.Match{Sets: []string{"empty"}, Prefixes: net("10.0.2.0/24").Prefixes} }), []model.Tuple{tcp}, []model.Tuple{tcp6}},
		{"destination port", r(func(r *goal.Rule) { r.DstPorts = ports(443, 443) }), []model.Tuple{tcp, tcp6}, []model.Tuple{tuple(goal.TCP, "10.0.1.4", "10.0.2.4", 443, 442), echo, esp}},
		{"source port", r(func(r *goal.Rule) { r.SrcPorts = ports(40000, 40000) }), []model.Tuple{tcp}, []model.Tuple{tuple(goal.TCP, "10.0.1.4", "10.0.2.4", 443, 40000), esp}},
		{"several ranges", r(func(r *goal.Rule) { r.DstPorts = []goal.PortRange{{Lo: 80, Hi: 80}, {Lo: 443, Hi: 500}} }), []model.Tuple{tcp}, []model.Tuple{tuple(goal.TCP, "10.0.1.4", "10.0.2.4", 1, 81)}},
		{"icmp by type", r(func(r *goal.Rule) { r.Protocol = goal.ICMP; r.DstPorts = ports(8, 8) }), []model.Tuple{echo}, []model.Tuple{echo6}},
		{"ports 1-65535 have no ESP", r(func(r *goal.Rule) { r.DstPorts = ports(1, 65535) }), []model.Tuple{tcp}, []model.Tuple{esp}},
	} {
		for _, dir := range []model.Dir{model.In, model.Out} {
			g := &goal.Group{}
			if dir == model.In {
				g.In = []goal.Rule{c.rule}
			} else {
				g.Out = []goal.Rule{c.rule}
			}
			for _, tu := range c.yes {
				if model.Match(g, s, dir, tu) != 0 {
					t.Errorf("%s: %v does not match", c.name, tu)
				}
			}
			for _, tu := range c.no {
				if model.Match(g, s, dir, tu) != -1 {
					t.Errorf("%s: %v matches", c.name, tu)
				}
			}
		}
	}
}

// The first matching rule decides, and each direction asks its own groups in its own order.
func TestOrderOfGroups(t *testing.T) {
	allow, deny := true, false
	r := func(name string, access bool) []goal.Rule {
		return []goal.Rule{rule(name, access, goal.TCP, anyone, anyone, any4)}
	}
	for _, c := range []struct {
		nicOut, subnetOut, subnetIn, nicIn bool
		group, rule                        string
	}{
		{allow, allow, allow, allow, "", ""},
		{deny, deny, deny, deny, "nic", "securityRules/nic-out"},
		{allow, deny, deny, deny, "subnet", "securityRules/subnet-out"},
		{allow, allow, deny, deny, "subnet", "securityRules/subnet-in"},
		{allow, allow, allow, deny, "nic", "securityRules/nic-in"},
	} {
		f := fabric(rules("nic", r("nic-in", c.nicIn), r("nic-out", c.nicOut)), rules("subnet", r("subnet-in", c.subnetIn), r("subnet-out", c.subnetOut)))
		for _, to := range []string{"10.0.1.5", "10.0.2.4"} {
			v := life(t, f, 1, open(t, f, 1, goal.TCP, to, 80))
			if v.Group != c.group || v.Rule != c.rule || (v.Action == model.Deliver) != (c.group == "") {
				t.Errorf("%+v to %s: %+v", c, to, v)
			}
		}
	}
}

// Platform addresses are exempt from every rule that does not name their tag; the tag covers the service's own port only.
func TestPlatformAddresses(t *testing.T) {
	dns := func(allow bool) goal.Rule {
		return rule(fmt.Sprintf("dns-%t", allow), allow, goal.ProtocolAny, anyone, sets(goal.SetPlatformDNS), any4)
	}
	imds := rule("imds", false, goal.TCP, anyone, sets(goal.SetPlatformIMDS), ports(80, 80))
	everything := rule("everything", false, goal.ProtocolAny, anyone, anyone, any4)
	address := rule("address", false, goal.ProtocolAny, anyone, net("168.63.129.16/32", "169.254.169.254/32"), any4)
	udp53, tcp53 := [2]uint16{uint16(goal.UDP), 53}, [2]uint16{uint16(goal.TCP), 53}
	tcp80, tcp81 := [2]uint16{uint16(goal.TCP), 80}, [2]uint16{uint16(goal.TCP), 81}
	for _, c := range []struct {
		name        string
		nic, subnet []goal.Rule
		to          string
		what        [2]uint16 // protocol, port
		rule        string    // that denies
	}{
		{"nothing said", nil, nil, "168.63.129.16", udp53, ""},
		{"everything denied", []goal.Rule{everything}, []goal.Rule{everything}, "168.63.129.16", udp53, ""},
		{"the address denied", []goal.Rule{address}, nil, "169.254.169.254", tcp80, ""},
		{"dns denied, udp", []goal.Rule{dns(false)}, nil, "168.63.129.16", udp53, "securityRules/dns-false"},
		{"dns denied, tcp", nil, []goal.Rule{dns(false)}, "168.63.129.16", tcp53, "securityRules/dns-false"},
		{"dns denied, another port", []goal.Rule{dns(false)}, nil, "168.63.129.16", tcp80, ""},
		{"dns denied, metadata", []goal.Rule{dns(false)}, nil, "169.254.169.254", tcp80, ""},
		{"dns allowed first", []goal.Rule{dns(true), dns(false)}, nil, "168.63.129.16", udp53, ""},
		{"dns allowed at the NIC, denied at the subnet", []goal.Rule{dns(true)}, []goal.Rule{dns(false)}, "168.63.129.16", udp53, "securityRules/dns-false"},
		{"metadata denied", []goal.Rule{imds}, nil, "169.254.169.254", tcp80, "securityRules/imds"},
		{"metadata denied, another port", []goal.Rule{imds}, nil, "169.254.169.254", tcp81, ""},
		{"metadata denied, dns", []goal.Rule{imds}, nil, "168.63.129.16", udp53, ""},
	} {
		f := fabric(rules("nic", nil, c.nic), rules("subnet", nil, c.subnet))
		v := life(t, f, 1, open(t, f, 1, uint8(c.what[0]), c.to, c.what[1]))
		want, reason := model.Service, observe.None
		switch {
		case c.rule != "":
			want, reason = model.Drop, observe.ACLPlatform
		case c.what == tcp81:
			want, reason = model.Drop, observe.ServiceAbsent
		}
		if v.Action != want || v.Reason != reason || v.Rule != c.rule {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

// Two VNets with the same addresses do not see each other.
func TestVNetsAreApart(t *testing.T) {
	f := fabric()
	for _, c := range []struct {
		from uint32
		to   string
		port uint32
	}{{1, "10.0.1.5", 2}, {4, "10.0.1.5", 5}, {2, "10.0.1.4", 1}, {5, "10.0.1.4", 4}} {
		if v := life(t, f, c.from, open(t, f, c.from, goal.TCP, c.to, 80)); v.Action != model.Deliver || v.Port != c.port {
			t.Errorf("%d to %s: %+v", c.from, c.to, v)
		}
	}
	if v := life(t, f, 4, open(t, f, 4, goal.TCP, "10.0.2.4", 80)); v.Reason != observe.RouteNoEndpoint {
		t.Errorf("to an address of the other VNet: %+v", v)
	}
}

// The trace names every layer, group and rule on the way.
func TestTrace(t *testing.T) {
	f := fabric(rules("subnet", []goal.Rule{rule("db", true, goal.TCP, anyone, anyone, ports(5432, 5432))}, nil))
	_, steps := model.Send(f, "host1", 1, open(t, f, 1, goal.TCP, "10.0.2.4", 5432))
	var got []string
	for _, s := range steps {
		got = append(got, s.String())
	}
	want := []string{
		"host1 port 1 out port pass",
		"host1 port 1 out guard pass",
		"host1 port 1 out flow miss",
		"host1 port 1 out acl allow by defaultSecurityRules/AllowVnetOutBound of nic",
		"host1 port 1 out acl allow by defaultSecurityRules/AllowVnetOutBound of subnet",
		"host1 port 1 out route remote",
		"host1 port 1 out flow open",
		"host1 port 1 out overlay pass",
		"host2 in overlay pass",
		"host2 port 3 in port pass",
		"host2 port 3 in flow miss",
		"host2 port 3 in acl allow by securityRules/db of subnet",
		"host2 port 3 in acl allow by defaultSecurityRules/AllowVnetInBound of nic",
		"host2 port 3 in flow open",
		"host2 port 3 in port deliver",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q", got)
	}
	v := life(t, f, 1, open(t, f, 1, goal.TCP, "8.8.8.8", 80))
	if s := v.String(); s != "drop route_none" {
		t.Errorf("got %q", s)
	}
	v = life(t, f, 1, open(t, f, 1, goal.TCP, "172.16.0.1", 80))
	if s := v.String(); s != "drop acl_default by defaultSecurityRules/DenyAllOutBound of nic" {
		t.Errorf("got %q", s)
	}
	v = life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.2.4", 5432))
	if s := v.String(); s != "deliver to port 3" {
		t.Errorf("got %q", s)
	}
}
