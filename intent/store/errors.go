package store

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	Key  string   // document or claim
	By   []string // keys of documents, or the owner of the claim
	Base uint64   // revision of the snapshot that did not know it yet, 0 when it knew
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
	ErrAway     = errors.New("the store does not answer")
)

// check gives an error that writing to etcd had its operation and, where it has one, its cause.
func (s *Store) check(op string, err error) error {
	switch {
	case err == nil:
		s.crammed.Store(false)
		return nil
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return s.noRoom(op, err)
	case lost(err), status.Code(err) == codes.Unavailable:
		err = fmt.Errorf("%w: %w", ErrAway, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// noRoom notes that there is no space, and asks the keeper for some.
func (s *Store) noRoom(op string, err error) error {
	s.crammed.Store(true)
	select {
	case s.full <- struct{}{}:
	default:
	}
	return fmt.Errorf("%s: %w: %w", op, ErrNoSpace, err)
}
