package server

import (
	"context"
	"fmt"
	"time"

	"ringfence/observe"
	"ringfence/pki"
)

// namedPair is one of the server's own certificates.
type namedPair struct {
	name string
	pki.Pair
}

// certificatesFit looks at the server's certificates as their files are now.
func (v *Server) certificatesFit() []observe.Finding {
	var out []observe.Finding
	for _, p := range v.certificates {
		out = append(out, certificateFit(p, v.now()))
	}
	return out
}

func certificateFit(p namedPair, now time.Time) observe.Finding {
	f := observe.Finding{State: observe.OK, Topic: "certificate"}
	c, err := p.Leaf()
	if err != nil {
		f.State, f.What, f.Cure = observe.Fail, fmt.Sprintf("%s: %v", p.name, err), "give the file back, or remove certificate and key and restart the server: it makes its own anew"
		return f
	}
	f.What = fmt.Sprintf("%s: good until %s", p.name, c.NotAfter.UTC().Format(time.RFC3339))
	switch {
	case now.After(c.NotAfter):
		f.State = observe.Fail
	case now.Before(c.NotBefore):
		f.State, f.Cure = observe.Fail, "set this machine's clock: the certificate is of the future"
		return f
	case c.NotAfter.Sub(now) < c.NotAfter.Sub(c.NotBefore)/6: // renewal began at a third
		f.State = observe.Warn
	default:
		return f
	}
	f.Cure = "one of the operator's: replace its files; the installation's own are renewed by the server, whose log says why this one was not"
	return f
}

// membersFit looks at the servers of the cluster.
func (v *Server) membersFit(ctx context.Context) []observe.Finding {
	all, err := v.servers(ctx)
	if err != nil {
		return []observe.Finding{{State: observe.Fail, Topic: "members", What: "the servers cannot be listed: " + err.Error(), Cure: "look at the server's log; most of the servers must be there"}}
	}
	return membersFit(all, v.now())
}

func membersFit(all []ServerStatus, now time.Time) (out []observe.Finding) {
	bad := func(state observe.Grade, what, cure string) {
		out = append(out, observe.Finding{State: state, Topic: "members", What: what, Cure: cure})
	}
	for _, s := range all {
		ahead := s.Seen.Sub(now)
		switch {
		case s.State == "invited":
			bad(observe.Warn, "a server was let in and has not come yet", "start it, or remove it: ringfence server remove NAME")
		case s.State == "learning":
			bad(observe.Warn, "server "+s.Name+" has no vote yet", "wait until it has what the others have; look at its log if that takes more than minutes")
		case !s.Alive && ahead > 0 && !s.Seen.IsZero():
			bad(observe.Warn, fmt.Sprintf("the clock of server %s is %v ahead", s.Name, ahead.Round(time.Second)), "let all servers follow one time server")
		case !s.Alive && s.State != "alone":
			bad(observe.Fail, "server "+s.Name+" is not there", "start it; if its disk is lost: ringfence server remove "+s.Name+", then join anew")
		}
	}
	if out == nil {
		out = []observe.Finding{{State: observe.OK, Topic: "members", What: fmt.Sprintf("servers: %d, all there", len(all))}}
	}
	return out
}

// auditFit says whether writes are recorded: without the log they are refused.
func (v *Server) auditFit() []observe.Finding {
	if v.audit == nil {
		return nil // the store is elsewhere
	}
	if err := v.audit.Ready(); err != nil {
		return []observe.Finding{{State: observe.Fail, Topic: "audit", What: err.Error(), Cure: "make room under the data directory, and see that it can be written"}}
	}
	return []observe.Finding{{State: observe.OK, Topic: "audit", What: "every write is recorded"}}
}
