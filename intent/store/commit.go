package store

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"

	clientv3 "go.etcd.io/etcd/client/v3"

	"ringfence/intent/resource"
)

// Write is one change of the documents, decided on Base. It is made whole or not at all.
type Write struct {
	Base   *Snapshot // nil: the newest
	Put    []Put
	Delete []string // keys; those that do not exist are passed over
	Guard  []string // keys of further documents, present or absent, that must be as Base has them

	refs map[*resource.Doc][]string
}

// Put is a document as it is to be, with all claims it holds from now on: those it held before and are not listed are given
// back.
type Put struct {
	Doc    *resource.Doc
	Claims []Claim
}

// Claim is something that one document at a time can hold: an address in a VNet, a VNI, a port number.
type Claim struct {
	Key   string `json:"key"`
	Owner string `json:"owner,omitempty"` // the resource to name to others who want it
}

// Commit makes the write in one transaction and returns its revision. The error is *Conflict when Base is out of date in
// something that matters, *InUse or *Missing when the write cannot be made as it is; nothing is changed then.
func (s *Store) Commit(ctx context.Context, w *Write) (uint64, error) {
	base := w.Base
	if base == nil {
		base = s.Snapshot()
	}
	p, err := newPlan(base, w)
	if err != nil {
		return 0, err
	}
	if len(p.ops) == 0 {
		return base.Revision(), nil
	}
	ops := append(p.ops, clientv3.OpPut(generationKey, ""))
	s.mine.expect(p.new, p.values)
	resp, err := s.client.Txn(ctx).If(p.compares...).Then(ops...).Else(p.probes...).Commit()
	if err != nil {
		s.mine.forget(p.values)
		return 0, s.check("commit", err)
	}
	if resp.Succeeded {
		return uint64(resp.Header.Revision), nil
	}
	s.mine.forget(p.values)
	var kvs []*mvccpb.KeyValue
	for _, r := range resp.Responses {
		kvs = append(kvs, r.GetResponseRange().GetKvs()...)
	}
	return 0, p.refusal(kvs)
}
