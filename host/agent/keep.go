package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ringfence/observe"
	"ringfence/pki"
	"ringfence/publish"
)

// serversFile holds where the agent may call when the server of its configuration is gone.
const serversFile = "servers.json"

// servers reads what an earlier process was told; a file that cannot be read costs nothing but the alternatives.
func (c Config) servers(log *slog.Logger) (out []string) {
	if c.DataDir == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(c.DataDir, serversFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		log.Warn("addresses of further servers", "error", err)
		return nil
	}
	return out
}

func (c Config) keepServers(log *slog.Logger) func([]string) {
	if c.DataDir == "" {
		return nil
	}
	return func(servers []string) {
		b, err := json.Marshal(servers)
		if err == nil {
			err = pki.WriteFile(filepath.Join(c.DataDir, serversFile), b, 0o600)
		}
		if err != nil {
			log.Warn("addresses of further servers are not kept", "error", err)
		}
	}
}

func (c Config) pair() pki.Pair { return pki.Pair{Cert: c.Cert, Key: c.Key} }

// renewal looks after the certificate of a host that joined; an operator's own certificate is only looked at.
func (c Config) renewal() publish.Renewal {
	r := publish.Renewal{Due: func() (error, bool) {
		leaf, err := c.pair().Leaf()
		if err != nil {
			return err, false
		}
		return publish.Expired(leaf, time.Now()), c.DataDir != "" && pki.Due(leaf, time.Now())
	}}
	if c.DataDir != "" {
		r.Request = func() ([]byte, error) { return c.pair().Request(c.Name) }
		r.Put = c.pair().Put
	}
	return r
}

// certificateFit judges how long the host's certificate lasts.
func certificateFit(c Config, now time.Time) observe.Finding {
	f := observe.Finding{State: observe.OK, Topic: "certificate"}
	leaf, err := c.pair().Leaf()
	if err != nil {
		f.State, f.What, f.Cure = observe.Fail, err.Error(), fmt.Sprintf("make a token by `ringfence host token %s` and join again", c.Name)
		return f
	}
	f.What = "the host's certificate ends at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case now.After(leaf.NotAfter):
		f.State, f.Cure = observe.Fail, fmt.Sprintf("check the clocks, or make a token by `ringfence host token %s` and join again", c.Name)
	case pki.Due(leaf, now) && leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/6:
		f.State, f.Cure = observe.Warn, "it should have been renewed by now: look at the agent's log and the server's"
	}
	return f
}
