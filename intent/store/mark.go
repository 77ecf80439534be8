package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// What can be decided about a host. A host without a mark is ready.
const (
	Draining = "draining" // takes no new machines; those it has move one after the other
	Failed   = "failed"   // takes no new machines; those it has are moved at once
)

// Mark is what the operator, or a server for a host that stayed away, decided about a host. Placement depends on it.
type Mark struct {
	State  string    `json:"state"`
	Healed bool      `json:"healed,omitempty"` // decided by a server: it ends when the host returns
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"` // the server that decided, and moves the machines
	Since  time.Time `json:"since"`

	Revision int64 `json:"-"` // 0: there is none
}

// MarkHost decides about a host as base has it: another decision in between makes it a *Conflict, and for a Healed mark any sign of
// life does too, so that of several servers one decides and none about a host that has just returned. A mark without a state
// takes the old one away.
func (s *Store) MarkHost(ctx context.Context, base Host, m Mark) (uint64, error) {
	value, err := json.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("mark host %s: %w", base.Name, err)
	}
	same := []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(hostPrefix+base.Name), ">", 0),
		clientv3.Compare(clientv3.ModRevision(markPrefix+base.Name), "=", base.Mark.Revision),
	}
	if m.Healed {
		same = append(same, clientv3.Compare(clientv3.ModRevision(seenPrefix+base.Name), "=", base.Sighting))
	}
	op := clientv3.OpPut(markPrefix+base.Name, string(value))
	if m.State == "" {
		op = clientv3.OpDelete(markPrefix + base.Name)
	}
	resp, err := s.client.Txn(ctx).If(same...).Then(op, clientv3.OpPut(generationKey, "")).Commit()
	if err != nil {
		return 0, s.check("mark host "+base.Name, err)
	}
	if !resp.Succeeded {
		return 0, &Conflict{uint64(s.Snapshot().Revision())}
	}
	return uint64(resp.Header.Revision), nil
}

// unmarked compares that nothing was decided about a host since base.
func (p *plan) unmarked(host string) {
	p.compares = append(p.compares, clientv3.Compare(clientv3.ModRevision(markPrefix+host), "=", p.base.marks[host].Revision))
}
