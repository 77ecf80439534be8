package goal_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence/goal"
	"ringfence/goal/random"
)

// valid is a goal with several of everything, the same each time.
func valid(t *testing.T) *goal.Host {
	t.Helper()
	for seed := uint64(0); ; seed++ {
		for _, h := range random.Hosts(rand.New(rand.NewPCG(seed, 4)), 20) {
			n := 0
			for _, v := range h.VNets {
				n += len(v.Sets)
			}
			if len(h.Ports) > 2 && len(h.VNets) > 1 && len(h.Groups) > 1 && len(h.Groups[0].In) > 4 && n > 3 && len(h.VNets[0].Sets) > 1 && h.Ports[0].NICGroup != "" {
				if err := goal.Check(h); err != nil {
					t.Fatal(err)
				}
				return h
			}
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:10.0.0.9")
	for _, c := range []struct {
		want  string // in the error
		spoil func(h *goal.Host)
	}{
		{"expected a name", func(h *goal.Host) { h.Name = "" }},
		{"underlay", func(h *goal.Host) { h.Underlay = netip.Addr{} }},
		{"expected ids in ascending order", func(h *goal.Host) { slices.Reverse(h.Groups) }},
		{"none empty", func(h *goal.Host) { h.Groups[0].ID = "" }},
		{"no port here uses it", func(h *goal.Host) {
			g := h.Groups[0]
			g.ID = "~"
			h.Groups = append(slices.Clone(h.Groups), g)
		}},
		{"is not in the goal", func(h *goal.Host) { h.Groups = nil }},
		{"is not in the goal", func(h *goal.Host) { h.VNets = h.VNets[1:] }},
		{"last rule", func(h *goal.Host) { h.Groups[0].In = nil }},
		{"last rule", func(h *goal.Host) { h.Groups[0].Out = h.Groups[0].Out[:len(h.Groups[0].Out)-1] }},
		{"ascending priorities", func(h *goal.Host) { h.Groups[0].In[1].Priority = 1 }},
		{"expected either any", func(h *goal.Host) { h.Groups[0].In[0].Src = goal.Match{} }},
		{"expected either any", func(h *goal.Host) { h.Groups[0].In[0].Src = goal.Match{Any: true, Sets: []string{"x"}} }},
		{"without host bits", func(h *goal.Host) {
			h.Groups[0].In[0].Src = goal.Match{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}
		}},
		{"without host bits", func(h *goal.Host) {
			h.Groups[0].In[0].Src = goal.Match{Prefixes: []netip.Prefix{netip.PrefixFrom(mapped, 128)}}
		}},
		{"is not in vnet", func(h *goal.Host) {
			g := slices.IndexFunc(h.Groups, func(g goal.Group) bool { return g.ID == h.Ports[0].NICGroup })
			h.Groups[g].In[0].Src = goal.Match{Sets: []string{"tag:Nowhere"}}
		}},
		{"expected at least one", func(h *goal.Host) { h.Groups[0].In[0].DstPorts = nil }},
		{"do not touch", func(h *goal.Host) { h.Groups[0].In[0].DstPorts = []goal.PortRange{{Lo: 1, Hi: 2}, {Lo: 3, Hi: 4}} }},
		{"do not touch", func(h *goal.Host) { h.Groups[0].In[0].DstPorts = []goal.PortRange{{Lo: 2, Hi: 1}} }},
		{"ascending VNIs", func(h *goal.Host) { h.VNets[0].VNI = 0 }},
		{"ascending VNIs", func(h *goal.Host) { h.VNets[len(h.VNets)-1].VNI = 1 << 24 }},
		{"ascending order", func(h *goal.Host) {
			h.VNets[0].Prefixes = append(slices.Clone(h.VNets[0].Prefixes), h.VNets[0].Prefixes[0])
		}},
		{"ascending names", func(h *goal.Host) { slices.Reverse(h.VNets[0].Sets) }},
		{"overlaps", func(h *goal.Host) {
			h.VNets[0].Sets[0].Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}
		}},
		{"ascending addresses", func(h *goal.Host) { slices.Reverse(h.VNets[0].Endpoints) }},
		{"no port", func(h *goal.Host) {
			e := &h.VNets[0].Endpoints
			last := (*e)[len(*e)-1]
			last.IP, last.Host = last.IP.Next(), h.Underlay
			*e = append(slices.Clone(*e), last)
		}},
		{"ascending numbers", func(h *goal.Host) { slices.Reverse(h.Ports) }},
		{"ascending numbers", func(h *goal.Host) { h.Ports[0].Index = 0 }},
		{"unicast", func(h *goal.Host) { h.Ports[0].MAC = goal.MAC{} }},
		{"unicast", func(h *goal.Host) { h.Ports[0].MAC[0] |= 1 }},
		{"sandbox", func(h *goal.Host) { h.Ports[0].Sandbox.Name = "../x" }},
		{"sandbox", func(h *goal.Host) { h.Ports[0].Sandbox.Name = strings.Repeat("a", 33) }},
		{"sandbox", func(h *goal.Host) { h.Ports[0].Sandbox.Device = "" }},
		{"another port", func(h *goal.Host) { h.Ports[1].Sandbox = h.Ports[0].Sandbox }},
		{"at least one address", func(h *goal.Host) { h.Ports[0].Addresses = nil }},
		{"one primary", func(h *goal.Host) {
			h.Ports[0].Addresses = []goal.Address{h.Ports[0].Addresses[0], h.Ports[0].Addresses[0]}
		}},
		{"in its subnet", func(h *goal.Host) { h.Ports[0].Addresses[0].Subnet = netip.MustParsePrefix("192.0.2.0/24") }},
		{"DNS labels", func(h *goal.Host) { h.VNets[0].Names[0].Host = "Web" }},
		{"DNS labels", func(h *goal.Host) { h.VNets[0].Names = append(slices.Clone(h.VNets[0].Names), h.VNets[0].Names[0]) }},
		{"at least one, ascending", func(h *goal.Host) { h.VNets[0].Names[0].IPs = nil }},
		{"an endpoint of", func(h *goal.Host) { h.VNets[0].Names[0].IPs = []netip.Addr{netip.MustParseAddr("192.0.2.9")} }},
		{"in lower case", func(h *goal.Host) { h.VNets[0].Domain = "a..b" }},
		{"longer than", func(h *goal.Host) { h.VNets[0].Domain = strings.Repeat("a.", 100) + "a" }},
		{"forwarder", func(h *goal.Host) { h.Forwarders = []netip.AddrPort{{}} }},
		{"as endpoint", func(h *goal.Host) { h.Ports[0].MAC[5]++ }},
	} {
		h := valid(t)
		c.spoil(h)
		err := goal.Check(h)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %q, got %v", c.want, err)
		}
	}
}
