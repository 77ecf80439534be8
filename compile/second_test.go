package compile_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/intent/resource"
)

// second is a second, independent reading of Azure's rules: it looks at the documents' texts and at nothing that compile or the
// model made of them. It says which rule of which NSG denies on which side, "" when none does.
type second struct {
	v *resource.View
	f compile.Facts
}

// conversation is the first packet between two addresses of one VNet.
type conversation struct {
	vnet         *resource.VNet
	src, dst     netip.Addr
	protocol     string // tcp udp icmp esp ah
	sport, dport int    // of icmp both are the type
}

func (s second) denied(c conversation) string {
	from, subnet := s.owner(c.vnet, c.src)
	for _, nsg := range []string{from.NSG, subnet.NSG} {
		if rule := s.decides(nsg, false, c); rule != "" {
			return "out " + rule
		}
	}
	to, subnet := s.owner(c.vnet, c.dst)
	if to == nil {
		return "nobody"
	}
	for _, nsg := range []string{subnet.NSG, to.NSG} {
		if rule := s.decides(nsg, true, c); rule != "" {
			return "in " + rule
		}
	}
	return ""
}

// owner finds the placed NIC that has an address in a VNet, and its subnet.
func (s second) owner(n *resource.VNet, ip netip.Addr) (*resource.NIC, *resource.Subnet) {
	for _, nic := range s.v.NICs {
		vm := s.v.VMs[nic.VM]
		if vm == nil || vm.Host == "" {
			continue
		}
		for _, c := range nic.IPConfigs {
			for i := range n.Subnets {
				if c.IP == ip && strings.EqualFold(c.Subnet, n.Subnets[i].ID) {
					return nic, &n.Subnets[i]
				}
			}
		}
	}
	return nil, nil
}

// decides names the rule of an NSG that denies, "" when the first that matches allows.
func (s second) decides(nsg string, inbound bool, c conversation) string {
	if nsg == "" {
		return ""
	}
	g := s.v.NSGs[nsg]
	rules := append([]resource.SecurityRule(nil), g.Rules...)
	all := func(name string, prio uint16, in, allow bool, src, dst string) {
		rules = append(rules, resource.SecurityRule{Name: name, Priority: prio, Inbound: in, Allow: allow, Protocol: "*",
			Src: resource.RuleSide{Prefixes: []string{src}, Ports: []string{"*"}}, Dst: resource.RuleSide{Prefixes: []string{dst}, Ports: []string{"*"}}})
	}
	all("AllowVnetInBound", 65000, true, true, "VirtualNetwork", "VirtualNetwork")
	all("AllowAzureLoadBalancerInBound", 65001, true, true, "AzureLoadBalancer", "*")
	all("DenyAllInBound", 65500, true, false, "*", "*")
	all("AllowVnetOutBound", 65000, false, true, "VirtualNetwork", "VirtualNetwork")
	all("AllowInternetOutBound", 65001, false, true, "*", "Internet")
	all("DenyAllOutBound", 65500, false, false, "*", "*")
	slices.SortStableFunc(rules, func(a, b resource.SecurityRule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range rules {
		if r.Inbound == inbound && (r.Protocol == "*" || r.Protocol == c.protocol) && s.side(r.Src, c, c.src, c.sport) && s.side(r.Dst, c, c.dst, c.dport) {
			if r.Allow {
				return ""
			}
			return g.ID + " " + r.Name
		}
	}
	panic("unreachable: the last rule matches everything")
}

func (s second) side(side resource.RuleSide, c conversation, ip netip.Addr, port int) bool {
	return slices.ContainsFunc(side.Ports, func(t string) bool { return s.port(t, c, port) }) &&
		(slices.ContainsFunc(side.Prefixes, func(t string) bool { return s.address(t, c.vnet, ip) }) ||
			slices.ContainsFunc(side.ASGs, func(asg string) bool { return s.member(asg, c.vnet, ip) }))
}

// port: "*" or the whole range means also what has no ports.
func (s second) port(text string, c conversation, port int) bool {
	if text == "*" || text == "0-65535" {
		return true
	}
	if c.protocol == "esp" || c.protocol == "ah" {
		return false
	}
	lo, hi, ranged := strings.Cut(text, "-")
	a, _ := strconv.Atoi(lo)
	b := a
	if ranged {
		b, _ = strconv.Atoi(hi)
	}
	return a <= port && port <= b
}

func (s second) address(text string, n *resource.VNet, ip netip.Addr) bool {
	wire := ip.String() == "168.63.129.16"
	switch strings.ToLower(text) {
	case "*":
		return true
	case "virtualnetwork":
		return wire || slices.ContainsFunc(n.Prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
	case "azureloadbalancer":
		return wire || ip.String() == "fe80::1234:5678:9abc"
	case "azureplatformdns":
		return wire
	case "internet":
		return public(ip)
	}
	if list, ok := s.f.PrefixLists[text]; ok {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return a == ip
	}
	return netip.MustParsePrefix(text).Contains(ip)
}

// public spells the special-purpose blocks out by their bytes.
func public(ip netip.Addr) bool {
	if !ip.Is4() {
		return ip.As16()[0]>>5 == 1
	}
	b := ip.As4()
	switch {
	case b[0] == 0, b[0] == 10, b[0] == 127, b[0] >= 224,
		b[0] == 100 && b[1] >= 64 && b[1] < 128, b[0] == 169 && b[1] == 254, b[0] == 172 && b[1] >= 16 && b[1] < 32,
		b[0] == 192 && b[1] == 0 && b[2] == 2, b[0] == 192 && b[1] == 168, b[0] == 198 && (b[1] == 18 || b[1] == 19):
		return false
	}
	return true
}

func (s second) member(asg string, n *resource.VNet, ip netip.Addr) bool {
	nic, _ := s.owner(n, ip)
	return nic != nil && slices.ContainsFunc(nic.IPConfigs, func(c resource.IPConfig) bool { return c.IP == ip && slices.Contains(c.ASGs, asg) })
}

// Random documents, compiled and judged by the model, say the same as the second reading: for every pair of machines, every
// protocol and ports at the edges, the same rule of the same NSG decides.
func TestCompiledRulesSayWhatTheDocumentsSay(t *testing.T) {
	asked, denied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 7))
		v, f := randomView(r)
		hosts := compile.Compile(v, f, nil)
		for _, h := range hosts {
			if err := goal.Check(h); err != nil {
				t.Fatalf("%s: %v", h.Name, err)
			}
		}
		for host, p := range allPorts(hosts) {
			n := v.VNets[key(fmt.Sprintf("%svirtualNetworks/Vnet%d", root, p.VNI-100))]
			for _, dst := range destinations(hosts[host], p) {
				for _, protocol := range []string{"tcp", "udp", "icmp", "esp", "ah"} {
					c := conversation{vnet: n, dst: dst, protocol: protocol, sport: pick(r, []int{0, 80, 1023, 1024, 65535}), dport: pick(r, []int{0, 79, 80, 81, 443, 65535})}
					got, ok := verdict(hosts, host, p, &c)
					if !ok {
						continue
					}
					want := second{v, f}.denied(c)
					if got != want {
						t.Fatalf("%s → %s %s %d→%d: the model says %q, the documents %q", c.src, c.dst, c.protocol, c.sport, c.dport, got, want)
					}
					asked++
					if got != "" {
						denied++
					}
				}
			}
		}
	})
	if asked < 1000 || denied < asked/10 || denied > asked*95/100 {
		t.Errorf("%d questions, %d denied: the test asks too little", asked, denied)
	}
}

// destinations are every endpoint of the VNet but the port's own, and addresses outside and nobody's.
func destinations(h *goal.Host, p *goal.Port) []netip.Addr {
	out := []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("10.0.0.200"), netip.MustParseAddr("2600::1"), netip.MustParseAddr("fd99::1")}
	for _, n := range h.VNets {
		for _, e := range n.Endpoints {
			if n.VNI == p.VNI && e.Port != p.Index {
				out = append(out, e.IP)
			}
		}
	}
	return out
}

// verdict asks fresh models and says it in the second reading's words. It completes the conversation; false when the port has no
// address of the destination's family.
func verdict(hosts map[string]*goal.Host, host string, p *goal.Port, c *conversation) (string, bool) {
	models := map[string]*model.Model{}
	for name, h := range hosts {
		models[name] = model.New(h)
	}
	number := map[string]uint8{"tcp": goal.TCP, "udp": goal.UDP, "icmp": goal.ICMP, "esp": goal.ESP, "ah": goal.AH}[c.protocol]
	packet := model.Open(p, number, c.dst, uint16(c.sport), uint16(c.dport))
	if !packet.Src.IsValid() {
		return "", false
	}
	c.src = packet.Src
	if c.protocol == "icmp" {
		c.sport, c.dport = int(packet.ICMPType), int(packet.ICMPType)
	}
	v, _ := model.Send(models, host, p.Index, packet)
	switch {
	case v.Action == model.Deliver:
		return "", true
	case v.Rule != "":
		return fmt.Sprintf("%s %s %s", v.Dir, v.Group, last(v.Rule)), true
	case v.Layer == "route":
		return "nobody", true
	}
	return v.String(), true
}

// The order of a document's maps and lists has no say: compiling twice gives the same bytes, and every goal passes its check.
func TestCompileIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		v, f := randomView(rand.New(rand.NewPCG(seed, 8)))
		w, _ := randomView(rand.New(rand.NewPCG(seed, 8)))
		for _, g := range w.NSGs {
			slices.Reverse(g.Rules)
			slices.SortStableFunc(g.Rules, func(a, b resource.SecurityRule) int { return strings.Compare(b.Name, a.Name) })
		}
		a, b := compile.Compile(v, f, nil), compile.Compile(w, f, nil)
		for name := range maps.Keys(a) {
			if goal.Text(a[name]) != goal.Text(b[name]) {
				t.Fatalf("two goals of one input:\n%s", goal.Diff(a[name], b[name]))
			}
		}
	})
}
