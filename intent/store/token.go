package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Token is a join token as it is stored: who has the store cannot join with it.
type Token struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"` // who joins with it
	Hash    string    `json:"hash"` // of the secret
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`

	rev int64
}

// forget is how long a token is kept after its end, so that its bearer hears what is the matter with it.
const forget = 7 * 24 * time.Hour

// Enrolled is a host that joined: only who has this key is it.
type Enrolled struct {
	Key string    `json:"key"` // print of the public key
	At  time.Time `json:"at"`
}

// PutToken keeps a new token, and drops those that ended long ago.
func (s *Store) PutToken(ctx context.Context, t Token, now time.Time) error {
	value, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("put token: %w", err)
	}
	got, err := s.client.Get(ctx, tokenPrefix, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("put token: %w", err)
	}
	ops := []clientv3.Op{clientv3.OpPut(tokenPrefix+t.ID, string(value))}
	for _, kv := range got.Kvs {
		var old Token
		if json.Unmarshal(kv.Value, &old) != nil || now.Sub(old.Expires) > forget {
			ops = append(ops, clientv3.OpDelete(string(kv.Key)))
		}
	}
	_, err = s.client.Txn(ctx).Then(ops...).Commit()
	return s.check("put token", err)
}

// GetToken reads a token by its id.
func (s *Store) GetToken(ctx context.Context, id string) (t Token, ok bool, err error) {
	got, err := s.client.Get(ctx, tokenPrefix+id)
	if err != nil || len(got.Kvs) == 0 {
		return Token{}, false, s.check("read token", err)
	}
	if err := json.Unmarshal(got.Kvs[0].Value, &t); err != nil {
		return Token{}, false, fmt.Errorf("read token: %w", err)
	}
	t.rev = got.Kvs[0].ModRevision
	return t, true, nil
}

// UseToken spends a token as GetToken gave it; of several who try, one can. For a host's token it enrolls the host in the same
// transaction, and refuses (*Conflict) when that changed what it was decided on.
func (s *Store) UseToken(ctx context.Context, t Token, now time.Time, e *Enrolled) error {
	t.Used = now
	value, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("use token: %w", err)
	}
	ops := []clientv3.Op{clientv3.OpPut(tokenPrefix+t.ID, string(value))}
	if e != nil {
		who, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("use token: %w", err)
		}
		ops = append(ops, clientv3.OpPut(enrollPrefix+t.Name, string(who)))
	}
	resp, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(tokenPrefix+t.ID), "=", t.rev)).Then(ops...).Commit()
	if err != nil {
		return s.check("use token", err)
	}
	if !resp.Succeeded {
		return &Conflict{s.Snapshot().Revision()}
	}
	return nil
}

// Enroll records a host that needs no token: the one on the server's own machine.
func (s *Store) Enroll(ctx context.Context, host string, e Enrolled) error {
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("enroll host %s: %w", host, err)
	}
	_, err = s.client.Put(ctx, enrollPrefix+host, string(value))
	return s.check("enroll host "+host, err)
}

// Enrolled tells who a host is, ok when it has joined.
func (s *Store) Enrolled(ctx context.Context, host string) (e Enrolled, ok bool, err error) {
	var got *clientv3.GetResponse
	err = s.patient(ctx, func(ctx context.Context) (err error) {
		got, err = s.client.Get(ctx, enrollPrefix+host)
		return err
	})
	if err != nil || len(got.Kvs) == 0 {
		return Enrolled{}, false, s.check("read host "+host, err)
	}
	if err := json.Unmarshal(got.Kvs[0].Value, &e); err != nil {
		return Enrolled{}, false, fmt.Errorf("read host %s: %w", host, err)
	}
	return e, true, nil
}
