package server

import (
	"context"
	"path/filepath"
	"time"

	"ringfence/intent/identity"
)

// keyRound is how often the key that signs tokens is looked at.
const keyRound = 6 * time.Hour

// identify gives the directory its store, sees to a key that signs tokens, and opens the audit log.
func (v *Server) identify(ctx context.Context, c Config, d *identity.Directory) error {
	d.Keep(v.store)
	v.identity = d
	if err := d.EnsureKey(ctx); err != nil {
		return err
	}
	var err error
	v.audit, err = identity.OpenAudit(filepath.Join(c.DataDir, "audit"))
	return err
}

// keepKey replaces the key that signs tokens when it has become old.
func (v *Server) keepKey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(keyRound):
		}
		if err := v.identity.EnsureKey(ctx); err != nil {
			v.log.Error("key that signs tokens", "error", err)
		}
	}
}
