package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/store"
	"ringfence/publish"
)

// process is a server as its configuration makes it.
type process struct {
	t      *testing.T
	c      Config
	plane  plane // for certificates
	socket *http.Client
}

func newProcess(t *testing.T) *process {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &process{t: t, plane: plane{t: t}}
	p.plane.authority()
	ca, cert, key := filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	own := p.plane.issue("server")
	private, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{ca: {Type: "CERTIFICATE", Bytes: p.plane.ca.Raw}, cert: {Type: "CERTIFICATE", Bytes: own.Certificate[0]},
		key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.c = Config{DataDir: filepath.Join(dir, "data"), RunDir: dir, Listen: free(t), Metrics: free(t), TLS: KeyPair{Cert: cert, Key: key}, Log: "error",
		Publish: Publish{Listen: free(t), Files: publish.Files{CA: ca, Cert: cert, Key: key}},
		Tenants: []identity.Tenant{{Name: "contoso", ID: "t", Token: "0123456789abcdef", Subscriptions: []identity.Subscription{{ID: subscription, Name: "contoso"}}}}}
	p.socket = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "api.sock"))
	}}}
	return p
}

// free is an address of the loopback that nobody listens on.
func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the server until stop.
func (p *process) start() (stop func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, p.c) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Errorf("the server ended: %v", err)
		}
		ended <- nil
	}
	p.t.Cleanup(stop)
	eventually(p.t, "the server is ready", func() bool {
		resp, err := p.socket.Get("http://operator/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	return stop
}

func (p *process) do(method, path, body string) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(within(p.t), method, "http://operator"+path+"?api-version=2024-05-01", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := p.socket.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, b
}

func (p *process) put(path, body string) {
	p.t.Helper()
	if status, b := p.do(http.MethodPut, path, body); status/100 != 2 || strings.Contains(string(b), `"Failed"`) {
		p.t.Fatalf("PUT %s: %d %s", path, status, b)
	}
}

// agent is a host that enforces everything and outlives the server; enforced is its newest generation.
func (p *process) agent(name string) (enforced *atomic.Uint64) {
	enforced = &atomic.Uint64{}
	c := publish.NewClient(publish.ClientOptions{Server: p.c.Publish.Listen,
		TLS: &tls.Config{RootCAs: p.plane.pool(), ServerName: "server", Certificates: []tls.Certificate{p.plane.issue(name)}},
		Hello: func() publish.Hello {
			return publish.Hello{Host: name, Underlay: netip.MustParseAddr("198.18.0.11"), Generation: enforced.Load()}
		},
		Answer: func(string) (json.RawMessage, error) { return nil, errors.New("none") }})
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	go c.Run(ctx)
	go func() {
		for {
			select {
			case g := <-c.Goals():
				enforced.Store(g.Generation)
				c.Ack(g.Generation, "")
			case <-ctx.Done():
				return
			}
		}
	}()
	return enforced
}

// The whole way: a backup of a server that works, the loss of its store, a restore, and hosts that take the goals of that.
func TestBackupLossAndRestore(t *testing.T) {
	p := newProcess(t)
	stop := p.start()
	enforced := p.agent("host1")
	eventually(t, "host1 has its first goal", func() bool { return enforced.Load() > 0 })
	p.put(group, `{"location":"westeurope"}`)
	p.put(network+"networkSecurityGroups/kept", nsg(100))
	_, backup := p.do(http.MethodGet, "/ringfence/v1/backup", "")
	if b, err := CheckBackup(bytes.NewReader(backup)); err != nil || b.Keys < 3 {
		t.Fatalf("%+v, %v", b, err)
	}
	p.put(network+"networkSecurityGroups/lost", nsg(100))
	p.put(network+"virtualNetworks/v", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"a","properties":{"addressPrefix":"10.0.1.0/24"}}]}}`)
	p.put(network+"networkInterfaces/i", nic("a"))
	before := enforced.Load()
	p.put(compute+"virtualMachines/m", vm("m", "i", "host1")) // host1 gets a goal that the backup does not know
	eventually(t, "host1 enforces what is newer than the backup", func() bool { return enforced.Load() > before })
	seen := enforced.Load()
	if _, err := Restore(within(t), p.c, bytes.NewReader(backup)); err == nil || !strings.Contains(err.Error(), "another server uses it") {
		t.Fatalf("under a server that runs: %v", err)
	}
	stop()
	if _, err := Restore(within(t), p.c, bytes.NewReader(backup)); !errors.Is(err, store.ErrNotEmpty) {
		t.Fatalf("over a store: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(p.c.DataDir, "etcd")); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(within(t), p.c, bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	p.start()
	eventually(t, "host1 enforces the restored documents", func() bool { return enforced.Load() > seen })
	if status, b := p.do(http.MethodGet, network+"networkSecurityGroups/kept", ""); status != 200 {
		t.Errorf("what was backed up: %d %s", status, b)
	}
	if status, b := p.do(http.MethodGet, network+"networkSecurityGroups/lost", ""); status != 404 {
		t.Errorf("what came later: %d %s", status, b)
	}
	p.put(network+"networkSecurityGroups/kept", nsg(200))
}

// Prometheus' address serves numbers and health, and nothing of the API.
func TestMetricsListener(t *testing.T) {
	p := newProcess(t)
	p.start()
	client := http.Client{Timeout: 10 * time.Second}
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/readyz": 200, "/ringfence/v1/hosts": 404, "/subscriptions": 404} {
		resp, err := client.Get("http://" + p.c.Metrics + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want || path == "/metrics" && !strings.Contains(string(b), "\nringfence_revision ") {
			t.Errorf("%s: %d %s %v, want %d", path, resp.StatusCode, b, err, want)
		}
	}
	for text, good := range map[string]bool{"127.0.0.1:9464": true, "[::1]:9464": true, "0.0.0.0:9464": false, "10.0.0.1:9464": false, "nonsense": false} {
		c := Config{Metrics: text}
		if err := c.Check(); strings.Contains(err.Error(), "metrics_listen") == good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
