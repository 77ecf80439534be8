package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/goal"
	"ringfence/host/agent/local"
	"ringfence/host/sandbox"
	"ringfence/publish"
)

// attachTime bounds how long an attachment may take until it is in force.
const attachTime = 20 * time.Second

// board is what the loop tells the local socket about attached ports.
type board struct {
	mu         sync.Mutex
	generation uint64 // of the goal that was worked on last, 0 before the first
	ports      []local.Port
	changed    chan struct{} // closed and replaced with every change
}

func (b *board) show(generation uint64, ports []local.Port) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.generation, b.ports = generation, ports
	if b.changed != nil {
		close(b.changed)
	}
	b.changed = make(chan struct{})
}

func (b *board) read() (uint64, []local.Port, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.generation, slices.Clone(b.ports), b.changed
}

// show puts the attached ports on the board as they are now.
func (a *Agent) show() {
	if a.current == nil {
		return
	}
	var ports []local.Port
	for i := range a.current.Ports {
		if p := &a.current.Ports[i]; p.Attachment.Kind != goal.KindSandbox {
			ports = append(ports, a.attached(p))
		}
	}
	a.board.show(a.current.Generation, ports)
}

func (a *Agent) attached(p *goal.Port) local.Port {
	out := local.Port{Attach: local.Attach{NIC: p.ID, Kind: string(p.Attachment.Kind), Device: p.Attachment.Device,
		Namespace: p.Attachment.Namespace, HostName: p.Sandbox.HostName, Configure: p.Attachment.Configure},
		Index: p.Index, MAC: p.MAC.String(), MTU: int(p.MTU), DNS: p.DNS, Domain: p.Domain, Addresses: []local.Address{}}
	for _, ip := range p.Addresses {
		out.Addresses = append(out.Addresses, local.Address{Prefix: netip.PrefixFrom(ip.IP, ip.Subnet.Bits()), Gateway: sandbox.Gateway(ip)})
	}
	out.Ready, out.Problem = a.ready(p.Index)
	return out
}

// ready tells whether a port is in force and configured, or why not.
func (a *Agent) ready(index uint32) (bool, string) {
	if why, ok := a.absent[index]; ok {
		return false, why
	}
	if _, ok := a.devices[index]; !ok {
		return false, "its device is not made yet"
	}
	if !a.inForce {
		return false, "the newest goal is not in force"
	}
	return a.guests.state(index)
}

// reception serves the local socket.
type reception struct {
	board     *board
	sandboxes Sandboxes
	call      func(ctx context.Context, kind string, body any) (json.RawMessage, error)
	connected func() bool
	since     func() time.Time // when that began or ended
	log       *slog.Logger
}

// listenLocal makes the socket whose file mode is the authentication. It is born where nobody else enters and gets its name when the
// mode is right; the name of an agent that has died is taken over.
func listenLocal(dir string) (net.Listener, error) {
	path := filepath.Join(dir, local.Socket)
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s: another agent is listening", path)
	}
	nest, err := os.MkdirTemp(dir, ".agent-")
	if err != nil {
		return nil, fmt.Errorf("local socket: %w", err)
	}
	defer os.RemoveAll(nest)
	born := filepath.Join(nest, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: born, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("local socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(born, 0o600), os.Rename(born, path)); err != nil {
		l.Close()
		return nil, fmt.Errorf("local socket: %w", err)
	}
	return l, nil
}

// serveLocal answers on the socket until ctx ends.
func (r *reception) serveLocal(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	l, err := listenLocal(dir)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: r.routes(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("local socket: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, local.Socket)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("local socket: %w", err)
	}
	return nil
}

func (r *reception) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/ports", func(w http.ResponseWriter, q *http.Request) {
		_, ports, _ := r.board.read()
		reply(w, http.StatusOK, map[string]any{"value": append([]local.Port{}, ports...)})
	})
	m.HandleFunc("PUT /v1/ports", r.attach)
	m.HandleFunc("DELETE /v1/ports", r.detach)
	m.HandleFunc("GET /v1/status", func(w http.ResponseWriter, q *http.Request) {
		generation, _, _ := r.board.read()
		switch {
		case generation == 0:
			refuse(w, http.StatusServiceUnavailable, "NotReady", "The agent has no goal yet.")
		case !r.connected():
			refuse(w, http.StatusServiceUnavailable, "NotReady", fmt.Sprintf("The agent does not reach the control plane since %s; goal %d stays in force.",
				r.since().UTC().Format(time.RFC3339), generation))
		default:
			reply(w, http.StatusOK, map[string]uint64{"generation": generation})
		}
	})
	return m
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"InternalServerError","message":"the answer cannot be written"}}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]local.Error{"error": {Code: code, Message: message}})
}

// refused answers an error of the control plane: its own no, or that it was not reached.
func refused(w http.ResponseWriter, err error) {
	var no publish.Refusal
	if errors.As(err, &no) {
		refuse(w, http.StatusConflict, "AttachmentRefused", string(no))
		return
	}
	refuse(w, http.StatusServiceUnavailable, "ControlPlaneUnreachable", err.Error())
}

func (r *reception) attach(w http.ResponseWriter, q *http.Request) {
	var want local.Attach
	d := json.NewDecoder(http.MaxBytesReader(w, q.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(&want); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequest", "read the request: "+err.Error())
		return
	}
	if want.Kind == local.Netns && want.Device == "" {
		want.Device = "eth0"
	}
	place := goal.Attachment{Kind: goal.Kind(want.Kind), Device: want.Device, Namespace: want.Namespace, Configure: want.Configure}
	if want.Kind != local.Tap && want.Kind != local.Netns || want.NIC == "" || want.Device == "" {
		refuse(w, http.StatusBadRequest, "InvalidRequest", "a nic, the kind tap or netns, and a device expected")
		return
	}
	if err := r.sandboxes.CheckAttachment(place); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(q.Context(), attachTime)
	defer cancel()
	revision, err := r.ask(ctx, "attach", want)
	if err != nil {
		refused(w, err)
		return
	}
	problem := "the control plane's new goal has not arrived"
	for {
		generation, ports, changed := r.board.read()
		if p := find(ports, want.NIC); p != nil && generation >= revision {
			if p.Ready {
				reply(w, http.StatusOK, p)
				return
			}
			problem = p.Problem
		}
		select {
		case <-changed:
		case <-ctx.Done():
			refuse(w, http.StatusGatewayTimeout, "NotInForce", fmt.Sprintf("%s is attached, but not in force after %v: %s", want.NIC, attachTime, problem))
			return
		}
	}
}

func (r *reception) detach(w http.ResponseWriter, q *http.Request) {
	nic := q.URL.Query().Get("nic")
	if nic == "" {
		refuse(w, http.StatusBadRequest, "InvalidRequest", "a nic expected")
		return
	}
	ctx, cancel := context.WithTimeout(q.Context(), attachTime)
	defer cancel()
	revision, err := r.ask(ctx, "detach", map[string]any{"nic": nic, "force": q.URL.Query().Get("force") == "true"})
	if err != nil {
		refused(w, err)
		return
	}
	for {
		generation, ports, changed := r.board.read()
		if p := find(ports, nic); p == nil && (revision == 0 || generation >= revision) || revision == 0 {
			reply(w, http.StatusOK, map[string]any{})
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			refuse(w, http.StatusGatewayTimeout, "NotInForce", fmt.Sprintf("%s is detached, but this host has not let it go after %v", nic, attachTime))
			return
		}
	}
}

func find(ports []local.Port, nic string) *local.Port {
	i := slices.IndexFunc(ports, func(p local.Port) bool { return strings.EqualFold(p.NIC, nic) })
	if i < 0 {
		return nil
	}
	return &ports[i]
}

func (r *reception) ask(ctx context.Context, kind string, body any) (revision uint64, err error) {
	b, err := r.call(ctx, kind, body)
	if err != nil {
		return 0, err
	}
	var got struct{ Revision uint64 }
	if err := json.Unmarshal(b, &got); err != nil {
		return 0, fmt.Errorf("read the control plane's reply: %w", err)
	}
	return got.Revision, nil
}
