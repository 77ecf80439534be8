package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/observe"
	"ringfence/publish"
)

// Where the doctor begins to worry.
const (
	slowRead   = 100 * time.Millisecond
	skewWarn   = time.Second
	skewFail   = time.Minute
	spaceWarn  = 1 << 30
	spaceFail  = 128 << 20
	checkTime  = 5 * time.Second
	topicStore = "store"
)

// getDoctor looks at everything and says what it finds.
func (v *Server) getDoctor(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	answer(w, http.StatusOK, list[observe.Finding]{Value: v.findings(ctx)})
}

// findings are those about the server, its store, and then every host by name.
func (v *Server) findings(ctx context.Context) []observe.Finding {
	out := at("server", append(v.readiness(ctx), v.space()...)...)
	out = append(out, at("server", v.certificatesFit()...)...)
	out = append(out, at("server", v.membersFit(ctx)...)...)
	out = append(out, at("server", v.auditFit()...)...)
	out = append(out, at("store", v.storeFit(ctx)...)...)
	hosts := v.publisher.Hosts()
	if len(hosts) == 0 {
		out = append(out, at("server", observe.Finding{State: observe.Warn, Topic: "hosts", What: "no host has ever connected",
			Cure: "start an agent: ringfence agent --config FILE"})...)
	}
	found := make([][]observe.Finding, len(hosts))
	var asked sync.WaitGroup
	for i, h := range hosts {
		asked.Go(func() { found[i] = at(h.Name, v.hostFit(ctx, h)...) })
	}
	asked.Wait()
	for _, f := range found {
		out = append(out, f...)
	}
	return out
}

func at(where string, found ...observe.Finding) []observe.Finding {
	for i := range found {
		found[i].Where = where
	}
	return found
}

func (v *Server) readiness(ctx context.Context) []observe.Finding {
	why := v.unready(ctx)
	if why == nil {
		return []observe.Finding{{State: observe.OK, Topic: "ready", What: fmt.Sprintf("revision %d is given to the hosts", v.publisher.Revision())}}
	}
	var out []observe.Finding
	for _, w := range why {
		out = append(out, observe.Finding{State: observe.Fail, Topic: "ready", What: w, Cure: "look at the server's log; restart the server: hosts keep what they enforce"})
	}
	return out
}

// space looks at the file system of the data directory.
func (v *Server) space() []observe.Finding {
	if v.data == "" {
		return nil // the store is elsewhere
	}
	var s unix.Statfs_t
	if err := unix.Statfs(v.data, &s); err != nil {
		return []observe.Finding{{State: observe.Fail, Topic: "disk", What: fmt.Sprintf("data directory %s: %v", v.data, err),
			Cure: "give the data directory back, then restart the server"}}
	}
	return []observe.Finding{roomFit(v.data, s.Bavail*uint64(s.Bsize))}
}

func roomFit(dir string, free uint64) observe.Finding {
	f := observe.Finding{State: observe.OK, Topic: "disk", What: fmt.Sprintf("data directory %s has %d MiB free", dir, free>>20)}
	switch {
	case free < spaceFail:
		f.State = observe.Fail
	case free < spaceWarn:
		f.State = observe.Warn
	default:
		return f
	}
	f.Cure = "make room on that file system: without any, no write is stored"
	return f
}

func (v *Server) storeFit(ctx context.Context) []observe.Finding {
	took, err := v.store.Probe(ctx)
	if err != nil {
		return []observe.Finding{{State: observe.Fail, Topic: topicStore, What: err.Error(), Cure: "look at the server's log and at the disk under the data directory"}}
	}
	latency := observe.Finding{State: observe.OK, Topic: topicStore, What: fmt.Sprintf("a read takes %v", took.Round(10*time.Microsecond))}
	if took > slowRead {
		latency.State, latency.Cure = observe.Warn, "give the data directory a faster disk, or this machine more time"
	}
	file, live, err := v.store.Size(ctx)
	if err != nil {
		return []observe.Finding{latency, {State: observe.Fail, Topic: topicStore, What: err.Error(), Cure: "look at the server's log"}}
	}
	return []observe.Finding{latency, sizeFit(file, live, v.store.Quota())}
}

func sizeFit(file, live, quota int64) observe.Finding {
	f := observe.Finding{State: observe.OK, Topic: topicStore, What: fmt.Sprintf("its file has %d MiB, %d MiB in use", file>>20, live>>20)}
	if quota == 0 {
		return f
	}
	f.What += fmt.Sprintf(", of at most %d MiB", quota>>20)
	switch {
	case live > quota*8/10:
		f.State = observe.Fail
	case live > quota/2:
		f.State = observe.Warn
	default:
		return f
	}
	f.Cure = "delete what is not needed: when the file is full, writes are refused"
	return f
}

// hostFit asks one host about itself, and compares its clock and version with the server's.
func (v *Server) hostFit(ctx context.Context, h publish.Status) []observe.Finding {
	if !h.Connected {
		return []observe.Finding{{State: observe.Fail, Topic: "agent", What: "its agent is not connected; what it has enforced last stays in force",
			Cure: "start the agent on that host, or look at its log: certificate, address of the control plane"}}
	}
	asked := time.Now()
	c, err := askHost[observe.Checkup](ctx, v.publisher, h.Name, "checkup")
	if err != nil {
		return []observe.Finding{{State: observe.Fail, Topic: "agent", What: "its agent does not answer: " + err.Error(), Cure: "look at the agent's log; restart the agent"}}
	}
	took := time.Since(asked)
	return append([]observe.Finding{versionFit(c.Version, publish.Version()), clockFit(c.Now.Sub(asked.Add(took/2)), took/2)}, c.Findings...)
}

func versionFit(agent, server string) observe.Finding {
	if agent == server {
		return observe.Finding{State: observe.OK, Topic: "version", What: "the agent is " + agent + ", as the server"}
	}
	return observe.Finding{State: observe.Warn, Topic: "version", What: "the agent is " + agent + ", the server " + server,
		Cure: "install the same program on both and restart the older one; nothing in force is touched by that"}
}

// clockFit judges the difference of two clocks, which is known up to the error.
func clockFit(skew, maybe time.Duration) observe.Finding {
	f := observe.Finding{State: observe.OK, Topic: "clock", What: fmt.Sprintf("%v from the server's, known to %v", skew.Round(time.Millisecond), maybe.Round(time.Millisecond))}
	sure := max(skew.Abs()-maybe, 0)
	switch {
	case sure > skewFail:
		f.State = observe.Fail
	case sure > skewWarn:
		f.State = observe.Warn
	default:
		return f
	}
	f.Cure = "let both machines follow one time server: certificates and times of events depend on the clocks"
	return f
}
