package store

import (
	"context"
	"fmt"
	"time"
)

// Probe reads once what every member must agree on, and says how long that took.
func (s *Store) Probe(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if _, err := s.client.Get(ctx, generationKey); err != nil {
		return 0, fmt.Errorf("read the store: %w", err)
	}
	return time.Since(began), nil
}

// Crammed tells whether etcd refuses writes for lack of space, as far as this server knows.
func (s *Store) Crammed() bool { return s.crammed.Load() }

// Quota is how large the store's file may get; 0 when etcd runs elsewhere and decides that itself.
func (s *Store) Quota() int64 {
	if s.etcd == nil {
		return 0
	}
	return s.opt.Quota
}
