package cli

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"ringfence/cli/matrix"
	"ringfence/cli/probe"
	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/intent/template"
	"ringfence/lab"
)

// Only an answer of the right one, seen by nobody else, is a yes; only silence everywhere is a no.
func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		target string
		result probe.Result
		seen   []string
		want   matrix.Answer
	}{
		"answered":                       {"contoso/a", probe.Result{Answer: "contoso/a"}, []string{"contoso/a"}, matrix.Yes},
		"echo":                           {"contoso/a", probe.Result{Answer: probe.Echo}, []string{"contoso/a"}, matrix.Yes},
		"silence":                        {"contoso/a", probe.Result{}, nil, matrix.No},
		"arrived, answer lost":           {"contoso/a", probe.Result{}, []string{"contoso/a"}, matrix.Wrong},
		"arrived at the other tenant":    {"contoso/a", probe.Result{}, []string{"fabrikam/a"}, matrix.Wrong},
		"answered by the other tenant":   {"contoso/a", probe.Result{Answer: "fabrikam/a"}, []string{"fabrikam/a"}, matrix.Wrong},
		"echo from the other tenant":     {"contoso/a", probe.Result{Answer: probe.Echo}, []string{"fabrikam/a"}, matrix.Wrong},
		"seen by a second one":           {"contoso/a", probe.Result{Answer: "contoso/a"}, []string{"contoso/a", "contoso/b"}, matrix.Wrong},
		"echo from nobody":               {"contoso/a", probe.Result{Answer: probe.Echo}, nil, matrix.Wrong},
		"a host's stack refused":         {"", probe.Result{Answer: probe.Refused}, nil, matrix.Wrong},
		"a host's stack echoed":          {"", probe.Result{Answer: probe.Echo}, nil, matrix.Wrong},
		"the Internet reached a machine": {"", probe.Result{Answer: "contoso/a"}, []string{"contoso/a"}, matrix.Wrong},
		"not sent":                       {"contoso/a", probe.Result{Error: "network is unreachable"}, nil, matrix.Unknown},
	} {
		s := shot{cell: &matrix.Cell{}, target: c.target}
		verdict(&s, c.result, c.seen)
		if s.cell.Got != c.want {
			t.Errorf("%s: %v (%s), want %v", name, s.cell.Got, s.cell.Detail, c.want)
		}
	}
}

// A shot that no result speaks of stays unknown, which is no good cell.
func TestUnmeasured(t *testing.T) {
	p := &prober{shots: []shot{{cell: &matrix.Cell{Model: matrix.No, Expected: matrix.No}}}}
	judge([]*prober{p})
	if p.shots[0].cell.Good() {
		t.Error("a cell that nobody measured is good")
	}
}

func TestOpinion(t *testing.T) {
	for _, c := range []struct {
		v    model.Verdict
		to   uint32
		want matrix.Answer
	}{
		{model.Verdict{Action: model.Drop}, 3, matrix.No},
		{model.Verdict{Action: model.Deliver, Port: 3}, 3, matrix.Yes},
		{model.Verdict{Action: model.Deliver, Port: 4}, 3, matrix.Wrong},
		{model.Verdict{Action: model.Deliver, Port: 4}, 0, matrix.Wrong},
		{model.Verdict{Action: model.Encap}, 3, matrix.Wrong},
	} {
		if got := opinion(c.v, c.to); got != c.want {
			t.Errorf("%+v to %d: %v, want %v", c.v, c.to, got, c.want)
		}
	}
}

// The packets that the model is asked about are those that a machine's kernel sends: the guard lets them through.
func TestPackets(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("fd00::4")
	port := goal.Port{Index: 1, MAC: goal.MAC{2, 0, 0, 0, 0, 1}, VNI: 1, Primary: true, Addresses: []goal.Address{
		{IP: four, Subnet: netip.MustParsePrefix("10.0.0.0/24"), Primary: true}, {IP: six, Subnet: netip.MustParsePrefix("fd00::/64")}}}
	other := goal.Port{Index: 2, MAC: goal.MAC{2, 0, 0, 0, 0, 2}, VNI: 1, Primary: true, Addresses: []goal.Address{
		{IP: four.Next(), Subnet: netip.MustParsePrefix("10.0.0.0/24"), Primary: true}, {IP: six.Next(), Subnet: netip.MustParsePrefix("fd00::/64")}}}
	here := netip.MustParseAddr("198.18.0.11")
	h := &goal.Host{Name: "h", Underlay: here, Ports: []goal.Port{port, other}, VNets: []goal.VNet{{VNI: 1,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/48")},
		Endpoints: []goal.Endpoint{{IP: four, Host: here, Port: 1, MAC: port.MAC}, {IP: four.Next(), Host: here, Port: 2, MAC: other.MAC},
			{IP: six, Host: here, Port: 1, MAC: port.MAC}, {IP: six.Next(), Host: here, Port: 2, MAC: other.MAC}}}}}
	for _, network := range []string{"tcp", "udp", "icmp"} {
		for _, to := range []netip.Addr{four.Next(), six.Next()} {
			v, steps := model.Send(map[string]*model.Model{"h": model.New(h)}, "h", 1, packet(&port, probe.Shot{Network: network, To: to, Port: 80}, 7))
			if v.Action != model.Deliver || v.Port != 2 {
				t.Errorf("%s to %s: %+v %v", network, to, v, steps)
			}
		}
	}
}

// The example that the program carries fits together: the template expands, and machines name what it makes.
func TestExampleExpands(t *testing.T) {
	e, err := (&demoCommand{}).example()
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := template.Parse(e.template)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := template.Expand(tpl, e.values, template.Env{Subscription: "s", Group: "g", Location: "l"})
	if err != nil {
		t.Fatal(err)
	}
	asgs := map[string]bool{"": true}
	subnets := map[string][]netip.Prefix{}
	for _, r := range plan.Resources {
		switch r.Type {
		case asgType:
			asgs[r.Name] = true
		case vnetType:
			var body struct {
				Properties struct {
					Subnets []struct {
						Name       string
						Properties struct {
							AddressPrefixes       []netip.Prefix
							DefaultOutboundAccess *bool
						}
					}
				}
			}
			if err := json.Unmarshal(r.Body, &body); err != nil {
				t.Fatal(err)
			}
			for _, s := range body.Properties.Subnets {
				subnets[s.Name] = s.Properties.AddressPrefixes
				if o := s.Properties.DefaultOutboundAccess; o == nil || *o {
					t.Errorf("subnet %s has a way out by default", s.Name)
				}
			}
		}
	}
	for _, m := range e.machines {
		if !asgs[m.ASG] || len(subnets[m.Subnet]) != 2 || !subnets[m.Subnet][0].Contains(m.Addresses[0]) || !subnets[m.Subnet][1].Contains(m.Addresses[1]) {
			t.Errorf("%s: group %q, subnet %s %v, addresses %v", m.Name, m.ASG, m.Subnet, subnets[m.Subnet], m.Addresses)
		}
	}
}

// Every machine tries every other one of its tenant on every probe and both families, and what it must not reach.
func TestProbers(t *testing.T) {
	ex, err := (&demoCommand{}).example()
	if err != nil {
		t.Fatal(err)
	}
	e, machines := ex.expected, ex.machines
	d := &demo{c: &demoCommand{}, example: ex, state: &lab.State{Hosts: []lab.Host{{Name: "host1", Underlay: "198.18.0.11", UplinkV6: "2001:db8:203::b"}}}}
	for _, tenant := range []string{"contoso", "fabrikam"} {
		for _, m := range machines {
			if m.Hosts[tenant] != "" {
				d.all = append(d.all, placed{Machine: m, tenant: tenant})
			}
		}
	}
	count, nonces := map[string]int{}, map[string]bool{}
	for _, p := range d.probers() {
		for _, s := range p.shots {
			if _, known := e.Expect(s.cell.FromTier, s.cell.ToTier, s.cell.Probe); !known {
				t.Errorf("%s to %s %s is not in expected.txt", s.cell.FromTier, s.cell.ToTier, s.cell.Probe)
			}
			if s.cell.Tenant != "" && strings.HasPrefix(s.target, s.cell.Tenant+"/") {
				count[s.cell.Tenant]++
			}
			nonces[s.Nonce] = true
			count["all"]++
		}
	}
	probes, families := len(e.Probes), 2
	if count["contoso"] != 6*5*probes*families || count["fabrikam"] != 7*6*probes*families || len(nonces) != count["all"] {
		t.Errorf("cells %v, nonces %d", count, len(nonces))
	}
}
