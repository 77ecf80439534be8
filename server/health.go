package server

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// readTime bounds the read that shows that the store answers.
const readTime = time.Second

// condition is what the process knows of its own readiness.
type condition struct {
	mu        sync.Mutex
	published bool   // goals were given out once
	stuck     string // why the newest snapshot's goals were not
	ending    bool
}

func (c *condition) set(change func(*condition)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// gaveOut notes how publishing the newest goals ended.
func (c *condition) gaveOut(err error) {
	c.set(func(c *condition) {
		c.stuck = ""
		if err != nil {
			c.stuck = err.Error()
		} else {
			c.published = true
		}
	})
}

// unready says why writes cannot be made or enforced now; none: they can. Anybody may read it: it names no host and no tenant.
func (v *Server) unready(ctx context.Context) (why []string) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	if _, err := v.store.Probe(ctx); err != nil {
		why = append(why, "store: it does not answer a read within "+readTime.String())
	}
	if v.store.Crammed() {
		why = append(why, "store: it has no space left and refuses writes")
	}
	c := &v.condition
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stuck != "":
		why = append(why, "goals: the newest documents' goals could not be given to the hosts; the server's log says why")
	case !c.published:
		why = append(why, "goals: none were given to the hosts yet")
	}
	if c.ending {
		why = append(why, "server: it ends")
	}
	return why
}

func healthy(w http.ResponseWriter, r *http.Request) { say(w, http.StatusOK, "ok") }

func (v *Server) ready(w http.ResponseWriter, r *http.Request) {
	if why := v.unready(r.Context()); why != nil {
		say(w, http.StatusServiceUnavailable, strings.Join(why, "\n"))
		return
	}
	say(w, http.StatusOK, "ok")
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write([]byte(text + "\n"))
}
