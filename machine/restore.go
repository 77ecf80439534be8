package machine

import (
	"context"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"ringfence/intent/store"
	"ringfence/server"
)

// Restore makes the store of a backup where a configuration says: one of `ringfence up`, or one of a server alone, as a lab's. No server
// may use the data directory, and it must hold no store. The other servers of an installation remove theirs and join anew.
func Restore(ctx context.Context, file string, backup io.Reader) (store.Backup, error) {
	c, err := serverOf(file)
	if err != nil {
		return store.Backup{}, err
	}
	return server.Restore(ctx, c, backup)
}

// serverOf reads either kind of configuration; only that of a machine says where others call it.
func serverOf(file string) (server.Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return server.Config{}, fmt.Errorf("read configuration: %w", err)
	}
	var fields map[string]any
	if err := yaml.Unmarshal(b, &fields); err != nil {
		return server.Config{}, fmt.Errorf("configuration %s: %w", file, err)
	}
	for _, own := range []string{"api", "control", "peers"} {
		if _, ok := fields[own]; ok {
			c, err := Load(file)
			return c.serverConfig(), err
		}
	}
	return server.LoadConfig(file)
}
