package server

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/intent/arm"
	"ringfence/intent/resource"
)

// Diagnose answers Azure's questions about the rules at a machine's interface from the goals of the newest snapshot: what hosts enforce, or are
// about to.
func (v *Server) Diagnose(question string, target resource.ID, body []byte) (any, error) {
	goals, _ := v.compile(v.store.Snapshot())
	var found []interfaceRules
	for _, h := range goals {
		for i := range h.Ports {
			p := &h.Ports[i]
			if strings.EqualFold(p.ID, target.String()) || strings.EqualFold(p.VM, target.String()) {
				found = append(found, rulesAt(h, p))
			}
		}
	}
	slices.SortFunc(found, func(a, b interfaceRules) int { return int(a.port.Index) - int(b.port.Index) })
	if len(found) == 0 {
		return nil, bad("NicMustBeAttachedToRunningVmToGetEffectiveSecurityGroups",
			"%s is not attached to a running virtual machine: no rules are in force for it.", target)
	}
	switch question {
	case arm.FlowVerify:
		return flowVerify(found, body)
	case arm.RuleDiagnostic:
		return ruleDiagnostic(found, body)
	}
	return effectiveGroups(&found[0]), nil
}

func bad(code, format string, args ...any) error {
	return resource.Faults{{Status: 400, Code: code, Message: fmt.Sprintf(format, args...)}}
}

// interfaceRules are the groups that the packets of one interface meet.
type interfaceRules struct {
	port        *goal.Port
	nic, subnet *goal.Group // nil: none at that level
	sets        model.Sets
}

func rulesAt(h *goal.Host, p *goal.Port) interfaceRules {
	r := interfaceRules{port: p, sets: model.Sets{}}
	for i := range h.Groups {
		if h.Groups[i].ID == p.NICGroup {
			r.nic = &h.Groups[i]
		}
		if h.Groups[i].ID == p.SubnetGroup {
			r.subnet = &h.Groups[i]
		}
	}
	for i := range h.VNets {
		if h.VNets[i].VNI == p.VNI {
			for _, s := range h.VNets[i].Sets {
				r.sets[s.Name] = s.Prefixes
			}
		}
	}
	return r
}

// level is one group with where it is applied.
type level struct {
	group *goal.Group
	at    string // id of the interface or subnet
}

// levels are in the order in which packets meet them.
func (r *interfaceRules) levels(inbound bool) (out []level) {
	all := []level{{r.nic, r.port.ID}, {r.subnet, r.port.SubnetID}}
	if inbound {
		slices.Reverse(all)
	}
	return slices.DeleteFunc(all, func(l level) bool { return l.group == nil })
}

func (l level) rules(inbound bool) []goal.Rule {
	if inbound {
		return l.group.In
	}
	return l.group.Out
}

// decide asks the levels; the first that denies decides, else the last that allows.
func (r *interfaceRules) decide(inbound bool, t model.Tuple) (access, rule string) {
	access = "Allow"
	dir := model.Out
	if inbound {
		dir = model.In
	}
	for _, l := range r.levels(inbound) {
		i := model.Match(l.group, r.sets, dir, t)
		if i < 0 {
			return "Deny", ""
		}
		rule = l.rules(inbound)[i].Name
		if !l.rules(inbound)[i].Allow {
			return "Deny", rule
		}
	}
	return access, rule
}

type flowQuestion struct {
	Direction       string `json:"direction"`
	Protocol        string `json:"protocol"`
	LocalPort       string `json:"localPort"`
	RemotePort      string `json:"remotePort"`
	LocalIPAddress  string `json:"localIPAddress"`
	RemoteIPAddress string `json:"remoteIPAddress"`
}

type flowAnswer struct {
	Access   string `json:"access"`
	RuleName string `json:"ruleName"`
}

// flowVerify answers ipFlowVerify. A port that is any is asked about with all ports: where they are not decided alike there is no one answer.
func flowVerify(at []interfaceRules, body []byte) (any, error) {
	var q flowQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, bad("InvalidRequestFormat", "Cannot parse the request: %s", err)
	}
	inbound, proto, err := asked(q.Direction, q.Protocol)
	if err != nil {
		return nil, err
	}
	local, err1 := netip.ParseAddr(q.LocalIPAddress)
	remote, err2 := netip.ParseAddr(q.RemoteIPAddress)
	if err1 != nil || err2 != nil || local.Is4() != remote.Is4() {
		return nil, bad("InvalidParameter", "localIPAddress '%s' and remoteIPAddress '%s': two addresses of one family are expected.", q.LocalIPAddress, q.RemoteIPAddress)
	}
	i := slices.IndexFunc(at, func(r interfaceRules) bool {
		return slices.ContainsFunc(r.port.Addresses, func(a goal.Address) bool { return a.IP == local })
	})
	if i < 0 {
		return nil, bad("InvalidParameter", "localIPAddress: %s is no address of %s.", local, at[0].port.VM)
	}
	locals, err := at[i].portsToAsk(q.LocalPort, "localPort")
	if err != nil {
		return nil, err
	}
	remotes, err := at[i].portsToAsk(q.RemotePort, "remotePort")
	if err != nil {
		return nil, err
	}
	var out *flowAnswer
	for _, lp := range locals {
		for _, rp := range remotes {
			t := model.Tuple{Protocol: proto, Src: local, Dst: remote, SrcPort: lp, DstPort: rp}
			if inbound {
				t = model.Tuple{Protocol: proto, Src: remote, Dst: local, SrcPort: rp, DstPort: lp}
			}
			access, rule := at[i].decide(inbound, t)
			a := flowAnswer{Access: access, RuleName: rule}
			if out != nil && *out != a {
				return nil, bad("InvalidParameter", "The ports decide: %s by %s or %s by %s. Give a number instead of *.", out.Access, out.RuleName, a.Access, a.RuleName)
			}
			out = &a
		}
	}
	return out, nil
}

// asked reads direction and protocol as Azure spells them.
func asked(direction, protocol string) (inbound bool, proto uint8, err error) {
	switch {
	case strings.EqualFold(direction, "Inbound"):
		inbound = true
	case !strings.EqualFold(direction, "Outbound"):
		return false, 0, bad("InvalidParameter", "direction '%s': Inbound or Outbound is expected.", direction)
	}
	switch strings.ToUpper(protocol) {
	case "TCP":
		return inbound, goal.TCP, nil
	case "UDP":
		return inbound, goal.UDP, nil
	}
	return false, 0, bad("InvalidParameter", "protocol '%s': TCP or UDP is expected.", protocol)
}

// portsToAsk is one port, or of any port one for every class that the rules tell apart.
func (r *interfaceRules) portsToAsk(text, field string) ([]uint16, error) {
	if text == "*" || text == "0-65535" || text == "" {
		out := []uint16{0}
		for _, g := range []*goal.Group{r.nic, r.subnet} {
			if g == nil {
				continue
			}
			for _, rule := range slices.Concat(g.In, g.Out) {
				for _, p := range slices.Concat(rule.SrcPorts, rule.DstPorts) {
					out = append(out, p.Lo, p.Hi+1) // 65535+1 is 0, which is there
				}
			}
		}
		slices.Sort(out)
		return slices.Compact(out), nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, bad("InvalidParameter", "%s '%s': a number from 0 to 65535 or * is expected.", field, text)
	}
	return []uint16{uint16(n)}, nil
}
