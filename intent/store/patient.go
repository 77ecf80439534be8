package store

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// When the leader dies, what was on its way to it is lost without a word: etcd would let the caller wait for seven seconds. A request is
// given up after one and made again, which is right only for those that say the same when they are made twice.
const (
	attemptTime = time.Second
	attempts    = 8
	attemptWait = 50 * time.Millisecond
)

// patient makes a request until it is answered.
func (s *Store) patient(ctx context.Context, request func(context.Context) error) (err error) {
	for try := 1; ; try++ {
		within, stop := context.WithTimeout(ctx, attemptTime)
		err = request(within)
		stop()
		if err == nil || ctx.Err() != nil || try == attempts || !lost(err) {
			return err
		}
		select {
		case <-time.After(attemptWait):
		case <-ctx.Done():
			return err
		}
	}
}

// lost tells whether a request may have got lost because the leader changed, or took too long.
func lost(err error) bool {
	for _, e := range []error{context.DeadlineExceeded, rpctypes.ErrLeaderChanged, rpctypes.ErrNoLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail,
		rpctypes.ErrTimeoutDueToConnectionLost, rpctypes.ErrGRPCLeaderChanged, rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCTimeout, rpctypes.ErrGRPCTimeoutDueToLeaderFail} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
