package store

import (
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Conflict says that something the write was decided on has changed since: decide again on a new snapshot.
type Conflict struct{ Revision uint64 }

func (e *Conflict) Error() string {
	return fmt.Sprintf("what revision %d held has changed since", e.Revision)
}

// InUse says that what the write takes away, or takes, is held by others: a document with referrers, a group with
// documents, an allocation that has an owner.
type InUse struct {
	Key string   // document or claim
	By  []string // keys of documents, or the owner of the claim
}

func (e *InUse) Error() string {
	return fmt.Sprintf("%s is in use by %s", e.Key, strings.Join(e.By, ", "))
}

// Missing says that a document refers to something that does not exist, or that its resource group does not.
type Missing struct{ Key, By string }

func (e *Missing) Error() string {
	return fmt.Sprintf("%s, which %s needs, does not exist", e.Key, e.By)
}

// Causes that a caller may want to tell apart.
var (
	ErrTooLarge = errors.New("the write is larger than the store takes")
	ErrNoSpace  = errors.New("the store has no space left")
)

// check gives an error of etcd its operation and, where it has one, its cause.
func (s *Store) check(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}
