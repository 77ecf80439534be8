package offline

import (
	"slices"
	"strings"

	"ringfence/intent/load"
	"ringfence/intent/resource"
)

// bounded says whether an unknown is about a rule or a group, so that the two bounds hold the truth between them.
func bounded(u load.Unknown) bool {
	return (u.Kind == load.KindTag || u.Kind == load.KindRule) && strings.Contains(u.ID, "/securityRules/") ||
		u.Kind == load.KindMissing && len(u.Touches) > 0 && slices.ContainsFunc(u.Touches, isGroup)
}

func isGroup(key string) bool {
	id, err := resource.ParseID(key)
	return err == nil && id.Type == "Microsoft.Network/networkSecurityGroups"
}

// bound is the view with every rule that is not known as open, or as closed, as it can be.
func bound(s *load.Source, open bool) (*resource.View, []string) {
	v := *s.View
	v.NSGs = map[string]*resource.NSG{}
	for k, g := range s.View.NSGs {
		v.NSGs[k] = g
	}
	var doubts []string
	for _, u := range s.Unknowns {
		if !bounded(u) {
			continue
		}
		doubts = append(doubts, u.String())
		group, rule, _ := strings.Cut(u.ID, "/securityRules/")
		key := strings.ToLower(group)
		switch {
		case u.Kind == load.KindMissing && !strings.Contains(u.ID, "/securityRules/"):
			for _, t := range u.Touches {
				if isGroup(t) && v.NSGs[t] == nil {
					v.NSGs[t] = &resource.NSG{ID: t, Rules: whole("not exported", open)}
				}
			}
		case v.NSGs[key] != nil:
			g := *v.NSGs[key]
			g.Rules = bend(slices.Clone(g.Rules), rule, u.Kind, open)
			v.NSGs[key] = &g
		}
	}
	return &v, doubts
}

// bend replaces one rule. An allowing one with a tag that is not known lets everything through that its other fields admit, or nothing; a
// denying one the other way round. A rule of which nothing is known decides about everything.
func bend(rules []resource.SecurityRule, name, kind string, open bool) []resource.SecurityRule {
	i := slices.IndexFunc(rules, func(r resource.SecurityRule) bool { return strings.EqualFold(r.Name, name) })
	if kind != load.KindTag || i < 0 {
		if i >= 0 {
			rules = slices.Delete(rules, i, i+1)
		}
		return append(whole(name, open), rules...)
	}
	r := &rules[i]
	if r.Allow != open {
		return slices.Delete(rules, i, i+1)
	}
	r.Src.Prefixes, r.Dst.Prefixes = widen(r.Src.Prefixes), widen(r.Dst.Prefixes)
	return rules
}

// widen puts every address in the place of a tag without known contents; the built-in tags stay.
func widen(prefixes []string) []string {
	if len(prefixes) != 1 || prefixes[0] == "*" {
		return prefixes
	}
	if _, isPrefix := resource.ParsePrefix(prefixes[0]); isPrefix {
		return prefixes
	}
	if _, known := resource.KnownTag(prefixes[0], nil); known {
		return prefixes
	}
	return []string{"*"}
}

// whole is a rule for each direction that decides about every packet, before all others.
func whole(name string, allow bool) []resource.SecurityRule {
	side := resource.RuleSide{Prefixes: []string{"*"}, Ports: []string{"*"}}
	in := resource.SecurityRule{Name: name, Priority: 1, Inbound: true, Allow: allow, Protocol: "*", Src: side, Dst: side}
	out := in
	out.Inbound = false
	return []resource.SecurityRule{in, out}
}
