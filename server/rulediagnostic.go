package server

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ringfence/goal"
)

type diagnosticProfile struct {
	Direction       string `json:"direction"`
	Protocol        string `json:"protocol"`
	Source          string `json:"source"`
	Destination     string `json:"destination"`
	DestinationPort string `json:"destinationPort"`
}

type matchedRule struct {
	RuleName string `json:"ruleName"`
	Action   string `json:"action"`
}

type ruleEvaluation struct {
	Name                   string `json:"name"`
	ProtocolMatched        bool   `json:"protocolMatched"`
	SourceMatched          bool   `json:"sourceMatched"`
	SourcePortMatched      bool   `json:"sourcePortMatched"`
	DestinationMatched     bool   `json:"destinationMatched"`
	DestinationPortMatched bool   `json:"destinationPortMatched"`
}

type evaluatedGroup struct {
	ID                    string           `json:"networkSecurityGroupId"`
	AppliedTo             string           `json:"appliedTo"`
	MatchedRule           matchedRule      `json:"matchedRule"`
	RulesEvaluationResult []ruleEvaluation `json:"rulesEvaluationResult"`
}

type groupResult struct {
	Access    string           `json:"securityRuleAccessResult"`
	Evaluated []evaluatedGroup `json:"evaluatedNetworkSecurityGroups"`
}

type profileResult struct {
	Profile diagnosticProfile `json:"profile"`
	Result  groupResult       `json:"networkSecurityGroupResult"`
}

// ruleDiagnostic answers networkConfigurationDiagnostic: for each profile every group on its way, rule by rule.
func ruleDiagnostic(at []interfaceRules, body []byte) (any, error) {
	var q struct {
		Profiles []diagnosticProfile `json:"profiles"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, bad("InvalidRequestFormat", "Cannot parse the request: %s", err)
	}
	if len(q.Profiles) == 0 {
		return nil, bad("InvalidParameter", "profiles: at least one is expected.")
	}
	out := []profileResult{}
	for _, p := range q.Profiles {
		r, err := at[0].profile(p)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return map[string]any{"results": out}, nil
}

// traffic is a profile, read.
type traffic struct {
	inbound  bool
	proto    uint8
	src, dst []netip.Prefix
	ports    goal.PortRange
}

func (r *interfaceRules) profile(p diagnosticProfile) (profileResult, error) {
	out := profileResult{Profile: p, Result: groupResult{Access: "Allow", Evaluated: []evaluatedGroup{}}}
	var t traffic
	var err error
	if strings.EqualFold(p.Protocol, "*") || strings.EqualFold(p.Protocol, "Any") {
		t.inbound, _, err = asked(p.Direction, "TCP")
	} else {
		t.inbound, t.proto, err = asked(p.Direction, p.Protocol)
	}
	if err != nil {
		return out, err
	}
	if t.src, err = r.addresses(p.Source, "source"); err != nil {
		return out, err
	}
	if t.dst, err = r.addresses(p.Destination, "destination"); err != nil {
		return out, err
	}
	if t.ports, err = portRange(p.DestinationPort); err != nil {
		return out, err
	}
	for _, l := range r.levels(t.inbound) {
		e, err := r.evaluate(l, t)
		if err != nil {
			return out, err
		}
		out.Result.Evaluated = append(out.Result.Evaluated, e)
		if e.MatchedRule.Action == "Deny" {
			out.Result.Access = "Deny"
		}
	}
	return out, nil
}

// evaluate looks at the rules of a group up to the one that decides about all of the traffic.
func (r *interfaceRules) evaluate(l level, t traffic) (evaluatedGroup, error) {
	e := evaluatedGroup{ID: l.group.ID, AppliedTo: l.at, RulesEvaluationResult: []ruleEvaluation{}}
	for _, rule := range l.rules(t.inbound) {
		src, dst, ports := r.covers(rule.Src, t.src), r.covers(rule.Dst, t.dst), coversPorts(rule.DstPorts, t.ports)
		proto, sport := whole, coversPorts(rule.SrcPorts, goal.AnyPort)
		switch {
		case rule.Protocol == goal.ProtocolAny || rule.Protocol == t.proto:
		case t.proto == goal.ProtocolAny:
			proto = part
		default:
			proto = nothing
		}
		all := []covering{proto, src, sport, dst, ports}
		e.RulesEvaluationResult = append(e.RulesEvaluationResult, ruleEvaluation{Name: ruleWord(rule.Name), ProtocolMatched: proto == whole, SourceMatched: src == whole,
			SourcePortMatched: sport == whole, DestinationMatched: dst == whole, DestinationPortMatched: ports == whole})
		switch {
		case slices.Contains(all, nothing):
		case slices.Contains(all, part):
			return e, bad("InvalidParameter", "The profile is not decided as a whole: %s of %s matches a part of it. Ask about less.", rule.Name, l.group.ID)
		default:
			e.MatchedRule = matchedRule{ruleWord(rule.Name), "Deny"}
			if rule.Allow {
				e.MatchedRule.Action = "Allow"
			}
			return e, nil
		}
	}
	e.MatchedRule.Action = "Deny" // no rule is left: what is not allowed is denied
	return e, nil
}

// addresses reads an address, a prefix, * or a tag that the rules here name.
func (r *interfaceRules) addresses(text, field string) ([]netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return []netip.Prefix{p.Masked()}, nil
	}
	if text == "*" {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, nil
	}
	for name, prefixes := range r.sets {
		if strings.EqualFold(name, "tag:"+text) && len(prefixes) > 0 {
			return prefixes, nil
		}
	}
	return nil, bad("InvalidParameter", "%s '%s': an address, a prefix, * or a service tag that a rule of these groups names is expected.", field, text)
}

func portRange(text string) (goal.PortRange, error) {
	if text == "*" || text == "" {
		return goal.AnyPort, nil
	}
	lo, hi, ok := strings.Cut(text, "-")
	if !ok {
		hi = lo
	}
	a, err1 := strconv.ParseUint(lo, 10, 16)
	b, err2 := strconv.ParseUint(hi, 10, 16)
	if err1 != nil || err2 != nil || a > b {
		return goal.PortRange{}, bad("InvalidParameter", "destinationPort '%s': a number, a range or * is expected.", text)
	}
	return goal.PortRange{Lo: uint16(a), Hi: uint16(b)}, nil
}

// coversPorts: ranges of a rule are sorted and merged.
func coversPorts(ranges []goal.PortRange, p goal.PortRange) covering {
	out := nothing
	for _, r := range ranges {
		switch {
		case r.Lo <= p.Lo && p.Hi <= r.Hi:
			return whole
		case r.Lo <= p.Hi && p.Lo <= r.Hi:
			out = part
		}
	}
	return out
}
