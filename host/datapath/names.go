package datapath

import (
	"fmt"
	"sync"

	"ringfence/goal"
)

// ruleNames says which rule a number in counters and events stands for. The numbers are hashes of the names, so they outlive
// groups and processes; the names of rules that no goal since the start had are not known.
type ruleNames struct {
	mu sync.RWMutex
	at map[uint64]ruleName
}

type ruleName struct {
	group, rule string
	revision    uint64
}

const maxNames = 1 << 18

func (n *ruleNames) add(g *goal.Group) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at == nil || len(n.at) > maxNames {
		n.at = map[uint64]ruleName{}
	}
	seed := groupSeed(g.ID)
	n.at[ruleID(seed, "")] = ruleName{group: g.ID}
	for _, rules := range [][]goal.Rule{g.In, g.Out} {
		for i := range rules {
			n.at[ruleID(seed, rules[i].Name)] = ruleName{g.ID, rules[i].Name, rules[i].Revision}
		}
	}
}

func (n *ruleNames) of(id uint64) ruleName {
	if id == 0 {
		return ruleName{}
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if name, ok := n.at[id]; ok {
		return name
	}
	return ruleName{rule: fmt.Sprintf("#%016x", id)}
}
