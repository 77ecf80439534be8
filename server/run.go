package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
	"ringfence/intent/arm"
	"ringfence/intent/identity"
	"ringfence/intent/login"
	"ringfence/intent/store"
	"ringfence/observe/journal"
	"ringfence/pki"
	"ringfence/publish"
)

// grace is how long requests may take to end when the server is told to.
const grace = 5 * time.Second

// Run is the life of a server process: it ends with ctx.
func Run(ctx context.Context, c Config) error {
	all := logger(c.Log)
	log := journal.Component(all, "server")
	directory, err := identity.New(c.Tenants)
	if err != nil {
		return fmt.Errorf("tenants: %w", err)
	}
	unlock, err := lock(c.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	o := store.Options{DataDir: c.DataDir, RunDir: c.RunDir, Log: journal.Component(all, "store"), PrefixLists: c.PrefixLists}
	if c.Installation != nil {
		o.Name, o.Cluster = c.Installation.Name, c.Installation.Cluster
	}
	s, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	v := New(s, c.Profile, all)
	v.data, v.inst = c.DataDir, c.Installation
	v.certificates = []namedPair{{"API", pki.Pair{Cert: c.TLS.Cert, Key: c.TLS.Key}}, {"hosts' stream", pki.Pair{Cert: c.Publish.Cert, Key: c.Publish.Key}}}
	v.alloc.FirstVNI, v.alloc.LastVNI = c.FirstVNI, c.LastVNI
	if err := v.enrollLocal(ctx); err != nil {
		return err
	}
	v.forwards, _ = c.forwarders() // checked with the configuration
	v.limits, _ = c.limits()
	v.healer.after, _ = c.healAfter()
	if err := v.identify(ctx, c, directory); err != nil {
		return err
	}
	defer v.audit.Close()
	l, err := c.listen()
	if err != nil {
		return err
	}
	defer l.close()
	api := arm.New(arm.Deps{Snapshot: func() arm.Snapshot { return s.Snapshot() }, Admit: v, Questions: v, Identity: directory, Audit: v.audit, Limits: c.apiLimits(),
		Log: journal.Component(all, "api"), Locations: c.Locations})
	handler := route(v.Operator(), api, login.New(directory, journal.Component(all, "login"), c.Locations), directory)
	log.Info("server started", "api", l.api.Addr().String(), "socket", l.operator.Addr().String(), "agents", l.agents.Addr().String(),
		"revision", s.Snapshot().Revision(), "documents", s.Snapshot().Len())
	err = v.serve(ctx, l, handler)
	log.Info("server ends")
	return err
}

// lockTime is how long a process that was killed may take to let go of its files: one that was started in its place waits for that.
const lockTime = 3 * time.Second

// lock takes the data directory: etcd would wait for ever for another process that has it.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for end := time.Now().Add(lockTime); errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("data directory %s: another server uses it: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// logger names this machine in every line: the lines of several servers may be read together.
func logger(level string) *slog.Logger {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return journal.New(os.Stderr, level, "server", name)
}

// listeners are the ends that a server shows: tenants, the operator, agents, and when it is asked for Prometheus.
type listeners struct {
	api, operator, agents net.Listener
	metrics               net.Listener // nil: none
	tls                   *tls.Config  // of agents
}

func (l *listeners) close() {
	for _, one := range []net.Listener{l.api, l.operator, l.agents, l.metrics} {
		if one != nil {
			one.Close()
		}
	}
}

func (c *Config) listen() (_ *listeners, err error) {
	l := &listeners{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	pair := pki.Pair{Cert: c.TLS.Cert, Key: c.TLS.Key}
	if _, err := pair.TLS(); err != nil {
		return nil, fmt.Errorf("the API's certificate: %w", err)
	}
	plain, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	l.api = tls.NewListener(plain, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.TLS() }})
	if c.Metrics != "" {
		if l.metrics, err = net.Listen("tcp", c.Metrics); err != nil {
			return nil, fmt.Errorf("listen for metrics: %w", err)
		}
	}
	if l.operator, err = listenOperator(filepath.Join(c.RunDir, "api.sock")); err != nil {
		return nil, fmt.Errorf("listen for the operator: %w", err)
	}
	if l.tls, err = c.Publish.ServerTLS(); err != nil {
		return nil, fmt.Errorf("agents' listener: %w", err)
	}
	if c.Installation != nil {
		l.tls = publish.Joinable(l.tls)
	}
	err = netns.Do(c.Publish.Netns, func() (err error) {
		l.agents, err = net.Listen("tcp", c.Publish.Listen)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for agents: %w", err)
	}
	return l, nil
}

// listenOperator makes the socket whose file mode is the operator's authentication. It is born in a directory that nobody else
// enters and gets its name when the mode is right.
func listenOperator(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s: another server is listening", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	nest, err := os.MkdirTemp(filepath.Dir(path), ".api-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(nest)
	born := filepath.Join(nest, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: born, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(born, 0o600), os.Rename(born, path)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serve runs everything until ctx ends or a listener fails; requests under way may finish.
func (v *Server) serve(ctx context.Context, l *listeners, handler http.Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	run := func(what string, f func() error) {
		work.Go(func() {
			if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	api, operator := v.http(handler), v.http(handler)
	operator.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return identity.AsOperator(ctx) }
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	v.streams = streams
	operator.RegisterOnShutdown(endStreams)
	loops, stop := context.WithCancel(context.Background())
	defer stop()
	work.Go(func() { v.Run(loops) })
	work.Go(func() { v.keepKey(loops) })
	run("agents' listener", func() error { return v.publisher.Serve(loops, l.agents, l.tls) })
	run("API", func() error { return api.Serve(l.api) })
	run("operator's socket", func() error { return operator.Serve(l.operator) })
	all := []*http.Server{api, operator}
	if l.metrics != nil {
		monitor := v.http(v.monitor())
		all = append(all, monitor)
		run("metrics", func() error { return monitor.Serve(l.metrics) })
	}
	select {
	case <-ctx.Done():
	case <-v.store.Ended():
		cancel(errors.New("the store ended: this server was removed from the cluster, or its disk failed; hosts keep what they enforce"))
	}
	cause := context.Cause(ctx)
	quiet, end := context.WithTimeout(context.Background(), grace)
	defer end()
	v.condition.set(func(c *condition) { c.ending = true })
	for _, s := range all {
		if err := s.Shutdown(quiet); err != nil {
			s.Close()
		}
	}
	stop()
	work.Wait()
	if errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}

func (v *Server) http(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(v.log.Handler(), slog.LevelDebug)}
}

// route sends the operator's routes to the operator's handler and everything else to ARM. Nobody but the operator learns that
// they exist.
func route(operator, arm http.Handler, enter *login.Login, directory *identity.Directory) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz": // anybody's: load balancers have no token
			operator.ServeHTTP(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/ringfence/") || r.URL.Path == "/metrics" {
			if p, err := directory.Authenticate(r); err == nil && p.Operator {
				operator.ServeHTTP(w, r)
				return
			}
		}
		if enter.Handles(r) {
			enter.ServeHTTP(w, r)
			return
		}
		arm.ServeHTTP(w, r)
	})
}
