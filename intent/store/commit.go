package store

import (
	"bytes"
	"context"
	"time"

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
	Hosts  []string // names of hosts about which nothing else must have been decided since Base

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
	if len(p.values) > 0 && s.reserved() {
		return 0, s.noRoom("commit", errReserve)
	}
	ops := append(p.ops, clientv3.OpPut(generationKey, ""))
	s.mine.expect(p.new, p.values)
	// Made twice, the second finds what the first changed, and is refused: then settle sees that it is its own.
	var resp *clientv3.TxnResponse
	tried := 0
	err = s.patient(ctx, func(ctx context.Context) (err error) {
		tried++
		resp, err = s.client.Txn(ctx).If(p.compares...).Then(ops...).Else(p.probes...).Commit()
		return err
	})
	if err == nil && !resp.Succeeded && tried > 1 {
		if rev, made := s.settle(ctx, p); made {
			s.mine.forget(p.values)
			return rev, nil
		}
	}
	if err != nil {
		s.mine.forget(p.values)
		if rev, made := s.settle(ctx, p); made {
			return rev, nil
		}
		return 0, s.check("commit", err)
	}
	if resp.Succeeded {
		s.wrote(p.values)
		return uint64(resp.Header.Revision), nil
	}
	s.mine.forget(p.values)
	var kvs []*mvccpb.KeyValue
	for _, r := range resp.Responses {
		kvs = append(kvs, r.GetResponseRange().GetKvs()...)
	}
	return 0, p.refusal(kvs)
}

// settle looks whether a write was made though its transaction answered an error: etcd applies the one that crosses its
// quota and then calls it refused, and an answer can be lost on the way.
func (s *Store) settle(ctx context.Context, p *plan) (uint64, bool) {
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	for key, value := range p.values {
		got, err := s.client.Get(ctx, docPrefix+key)
		if err != nil || len(got.Kvs) == 0 || !bytes.Equal(got.Kvs[0].Value, value) {
			return 0, false
		}
		if old, ok := p.base.docs.get(key); ok && old.doc.Revision == got.Kvs[0].ModRevision {
			return 0, false // the same bytes, from before
		}
	}
	for key := range p.gone {
		got, err := s.client.Get(ctx, docPrefix+key)
		if err != nil || len(got.Kvs) > 0 {
			return 0, false
		}
	}
	got, err := s.client.Get(ctx, generationKey)
	if err != nil || len(got.Kvs) == 0 {
		return 0, false
	}
	return uint64(got.Kvs[0].ModRevision), true
}
