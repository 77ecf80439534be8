package server

import (
	"context"
	"io"
	"net/http"

	"ringfence/intent/store"
	"ringfence/observe/journal"
)

// getBackup answers with everything that is stored at one revision. A backup that cannot be finished breaks the connection: what the
// client has of it lacks its end, and says so.
func (v *Server) getBackup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := v.store.Backup(r.Context(), w); err != nil {
		v.log.Error("backup", "error", err)
		panic(http.ErrAbortHandler)
	}
}

// CheckBackup reads a backup to its end.
func CheckBackup(r io.Reader) (store.Backup, error) { return store.ReadBackup(r, nil) }

// Restore makes the store of a backup in the data directory of a configuration. No server may use that, and it must hold no store.
func Restore(ctx context.Context, c Config, r io.Reader) (store.Backup, error) {
	unlock, err := lock(c.DataDir)
	if err != nil {
		return store.Backup{}, err
	}
	defer unlock()
	return store.Restore(ctx, store.Options{DataDir: c.DataDir, RunDir: c.RunDir, Log: journal.Component(logger(c.Log), "store")}, r)
}
