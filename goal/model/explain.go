package model

import (
	"fmt"
	"strings"
)

// String says the verdict in one line: what becomes of the packet and, of a drop, which reason and which rule.
func (v Verdict) String() string {
	switch v.Action {
	case Drop:
		return fmt.Sprintf("drop %s%s", v.Reason, by(v.Group, v.Rule))
	case Deliver:
		return fmt.Sprintf("deliver to port %d", v.Port)
	case Encap:
		return fmt.Sprintf("encap to %s vni %d", v.Host, v.VNI)
	}
	return v.Action.String()
}

// String says the step in one line.
func (s Step) String() string {
	port := ""
	if s.Port != 0 {
		port = fmt.Sprintf(" port %d", s.Port)
	}
	reason := ""
	if s.Reason != 0 {
		reason = " " + s.Reason.String()
	}
	return fmt.Sprintf("%s%s %s %s %s%s%s", s.Host, port, s.Dir, s.Layer, s.Word, reason, by(s.Group, s.Rule))
}

func by(group, rule string) string {
	if group == "" {
		return ""
	}
	return fmt.Sprintf(" by %s of %s", rule, group)
}

// Decided returns the step in which a rule decided last: the rule that denied, or the last of those that allowed. It is false
// when no rule was asked, as for packets of a known flow.
func Decided(steps []Step) (Step, bool) {
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].Rule != "" {
			return steps[i], true
		}
	}
	return Step{}, false
}

// Explain writes a packet's life, a line for every step and one for the verdict.
func Explain(v Verdict, steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintln(&b, s)
	}
	fmt.Fprintln(&b, v)
	return b.String()
}
