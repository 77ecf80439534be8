package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"ringfence/goal"
	"ringfence/intent/alloc"
	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// callTime bounds a host's request.
const callTime = 20 * time.Second

// attachCall is a host's request to have a network interface attached to something on it, detachCall to let it go. The host is who
// asks, as its certificate says: no host attaches anything to another one.
type (
	attachCall struct {
		NIC       string `json:"nic"`
		Kind      string `json:"kind"`
		Device    string `json:"device"`
		Namespace string `json:"namespace"`
		HostName  string `json:"hostName"`
		Configure bool   `json:"configure"`
	}
	detachCall struct {
		NIC   string `json:"nic"`
		Force bool   `json:"force"` // also when another host has it, if its agent is away
	}
	// callReply tells the revision from which on the goals have it, 0 when nothing had to change.
	callReply struct {
		Revision uint64 `json:"revision"`
	}
)

// called answers the requests of hosts.
func (v *Server) called(host, kind string, body json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	var revision uint64
	var err error
	switch kind {
	case "attach":
		var q attachCall
		if err = strictly(body, &q); err == nil {
			revision, err = v.attach(ctx, host, q)
		}
	case "detach":
		var q detachCall
		if err = strictly(body, &q); err == nil {
			revision, err = v.detach(ctx, host, q)
		}
	default:
		err = fmt.Errorf("request %q: attach or detach expected", kind)
	}
	if err != nil {
		v.log.Warn("host's request is refused", "host", host, "request", kind, "error", err)
		return nil, err
	}
	return json.Marshal(callReply{revision})
}

func strictly(body json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	return nil
}

func (v *Server) attach(ctx context.Context, host string, q attachCall) (uint64, error) {
	to := &resource.Attachment{Host: host, Kind: q.Kind, Device: q.Device, Namespace: q.Namespace, HostName: strings.ToLower(q.HostName), Configure: q.Configure}
	if err := checkPlace(to); err != nil {
		return 0, err
	}
	return v.hold(ctx, q.NIC, func(doc *resource.Doc, _ *store.Snapshot) (*resource.Attachment, bool, error) {
		old := doc.System.Attachment
		return to, old == nil || *old != *to, nil
	})
}

// checkPlace wants what the goal's check and the internal DNS will want.
func checkPlace(a *resource.Attachment) error {
	device := a.Device != "" && len(a.Device) <= 15 && !strings.ContainsAny(a.Device, "/ :\x00")
	switch {
	case !device:
		return fmt.Errorf("device %q: 1 to 15 bytes without space, slash and colon expected", a.Device)
	case a.HostName != "" && !goal.Label(a.HostName):
		return fmt.Errorf("host name %q: 1 to 63 of a-z, 0-9 and - expected", a.HostName)
	case a.Kind == string(goal.KindTap) && (a.Namespace != "" || a.Configure):
		return errors.New("a tap has no namespace and nothing to configure")
	case a.Kind == string(goal.KindTap):
	case a.Kind != string(goal.KindNetns):
		return fmt.Errorf("kind %q: tap or netns expected", a.Kind)
	case !filepath.IsAbs(a.Namespace) || filepath.Clean(a.Namespace) != a.Namespace || len(a.Namespace) > 4096:
		return fmt.Errorf("namespace %q: the absolute path of its file expected", a.Namespace)
	}
	return nil
}

func (v *Server) detach(ctx context.Context, host string, q detachCall) (uint64, error) {
	return v.hold(ctx, q.NIC, func(doc *resource.Doc, base *store.Snapshot) (*resource.Attachment, bool, error) {
		a := doc.System.Attachment
		if a == nil {
			return nil, false, nil
		}
		if a.Host == host {
			return nil, true, nil
		}
		for _, h := range base.Hosts() {
			if h.Name == a.Host && h.Connected && h.Mark.State != store.Failed {
				return nil, false, fmt.Errorf("network interface %s is attached to %s, whose agent is there: detach it on that host", doc.ID, a)
			}
		}
		if !q.Force {
			return nil, false, fmt.Errorf("network interface %s is attached to %s; its agent is away: --force takes it from there", doc.ID, a)
		}
		return nil, true, nil
	})
}

// hold changes where a network interface is attached, in one transaction that holds only while nothing it depends on has changed. It
// returns when the newest snapshot has it.
func (v *Server) hold(ctx context.Context, nic string, decide func(*resource.Doc, *store.Snapshot) (to *resource.Attachment, change bool, err error)) (uint64, error) {
	v.admission.Lock()
	defer v.admission.Unlock()
	for try := 1; ; try++ {
		base := v.store.Snapshot()
		old := base.Get(strings.ToLower(nic))
		if old == nil {
			return 0, fmt.Errorf("network interface %s was not found", nic)
		}
		to, change, err := decide(old, base)
		if err != nil || !change {
			return 0, err
		}
		doc := *old
		draft := &alloc.Draft{Base: base, Doc: &doc}
		if err := v.alloc.Attach(draft, to); err != nil {
			return 0, err
		}
		write := &store.Write{Base: base, Put: []store.Put{{Doc: &doc, Claims: draft.Claims}}, Hosts: draft.Hosts}
		if err := v.judge(base.With(write), write); err != nil {
			return 0, err
		}
		revision, err := v.store.Commit(ctx, write)
		var conflict *store.Conflict
		switch {
		case err == nil:
			_, err = v.store.Wait(ctx, revision)
			return revision, err
		case !errors.As(err, &conflict) || try == tries:
			return 0, refusal(err)
		}
		v.await(ctx, base.Revision()+1)
	}
}
