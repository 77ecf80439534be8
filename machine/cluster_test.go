package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence/pki"
	"ringfence/publish"
)

// childFile tells the test's own binary, started anew, to be the machine of that configuration.
const childFile = "RINGFENCE_MACHINE"

func TestMain(m *testing.M) {
	if file := os.Getenv(childFile); file != "" {
		c, err := Load(file)
		if err == nil {
			err = Up(context.Background(), c, nil)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// node is a control-plane machine: a process of its own.
type node struct {
	t   *testing.T
	c   Config
	cmd *exec.Cmd
	log bytes.Buffer
}

func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newNode(t *testing.T, name string) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "rfu") // short: it holds unix sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text := fmt.Sprintf("name: %s\ndata_dir: %s/d\nrun_dir: %s/r\nlog: error\napi: {listen: '%s'}\ncontrol: {listen: '%s'}\npeers: {listen: '%s'}\n", name, dir, dir, free(t), free(t), free(t))
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, c: c}
	if err := os.WriteFile(n.file(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, n.log.String())
		}
	})
	return n
}

func (n *node) file() string { return filepath.Join(filepath.Dir(n.c.DataDir), "c.yaml") }

func (n *node) start(file string) {
	n.t.Helper()
	n.cmd = exec.Command(os.Args[0])
	n.cmd.Env = append(os.Environ(), childFile+"="+file)
	n.cmd.Stderr = &n.log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.eventually("ready", func() bool {
		_, status := n.ask("GET", "/readyz", "")
		return status == 200
	})
}

func (n *node) kill() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.cmd.Wait()
		n.cmd = nil
	}
}

func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(40 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("%s: never %s", n.c.Name, what)
		}
	}
}

// ask speaks as the operator; a server that is not there gives status 0.
func (n *node) ask(method, path, body string) (string, int) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.c.RunDir, "api.sock"))
	}}
	q, err := http.NewRequest(method, "http://operator"+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	ctx, stop := context.WithTimeout(context.Background(), 8*time.Second)
	defer stop()
	resp, err := tr.RoundTrip(q.WithContext(ctx))
	if err != nil {
		return err.Error(), 0
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error(), 0
	}
	return string(b), resp.StatusCode
}

func (n *node) token(path string) string {
	n.t.Helper()
	b, status := n.ask("POST", path, "")
	var a struct{ Token string }
	if err := json.Unmarshal([]byte(b), &a); status != 200 || err != nil || a.Token == "" {
		n.t.Fatalf("token: %d %s %v", status, b, err)
	}
	return a.Token
}

// subscriptions of the default tenant.
func (n *node) subscription() string {
	n.t.Helper()
	c := n.c
	if err := c.ensureTenant(); err != nil {
		n.t.Fatal(err)
	}
	return c.Tenants[0].Subscriptions[0].ID
}

func joinAs(t *testing.T, first *node, name string) *node {
	t.Helper()
	n := newNode(t, name)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	c, err := JoinServer(ctx, n.c, first.token("/ringfence/v1/servers/"+name+"/token"), first.c.Control.Listen)
	if err != nil {
		t.Fatal(err)
	}
	n.c = c
	n.start(ServerFile(c.DataDir))
	first.eventually(name+" votes", func() bool {
		b, _ := first.ask("GET", "/ringfence/v1/servers", "")
		return strings.Count(b, `"voting"`) == strings.Count(b, `"name"`) && strings.Contains(b, `"`+name+`"`)
	})
	return n
}

// writer makes resource groups at every server that takes them, and counts those that were acknowledged.
type writer struct {
	mu      sync.Mutex
	acked   []string
	longest time.Duration // between two acknowledgements
}

func (w *writer) run(ctx context.Context, sub string, nodes ...*node) {
	last := time.Now()
	for i := 0; ; i++ {
		name := fmt.Sprintf("g%d", i)
		n := nodes[i%len(nodes)]
		_, status := n.ask("PUT", "/subscriptions/"+sub+"/resourcegroups/"+name+"?api-version=2021-04-01", `{"location":"westeurope"}`)
		if status == 200 || status == 201 {
			w.mu.Lock()
			w.acked = append(w.acked, name)
			w.longest = max(w.longest, time.Since(last))
			w.mu.Unlock()
			last = time.Now()
			if ctx.Err() != nil {
				return // only with an acknowledgement: the last pause counts, too
			}
		}
	}
}

// Three servers; one is killed in the middle of everything: the others take writes on, none that was acknowledged is lost, the killed one
// comes back with all of them, and a host finds another server by itself.
func TestOneOfThreeServersIsKilled(t *testing.T) {
	first := newNode(t, "s1")
	first.start(first.file())
	second, third := joinAs(t, first, "s2"), joinAs(t, first, "s3")
	sub := first.subscription()
	if l := leader(first); l != "s1" {
		t.Fatalf("the leader is %q: the hardest case is that of the leader", l)
	}
	host := joinHost(t, first, "h1")
	first.eventually("host connected", func() bool { return connected(first, "h1") })
	first.eventually("host knows all", func() bool { return len(host.kept()) == 3 })

	var w writer
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { w.run(ctx, sub, second, third) })
	time.Sleep(time.Second)
	killed := time.Now()
	if l := leader(second); l != "s1" {
		t.Errorf("%q leads when s1 is killed", l)
	}
	first.kill()
	if _, status := first.ask("GET", "/readyz", ""); status != 0 {
		t.Errorf("a killed server answers %d", status)
	}
	t.Logf("dead after %v", time.Since(killed))
	here := func(n *node) bool {
		b, _ := n.ask("GET", "/ringfence/v1/hosts/h1", "")
		return strings.Contains(b, `"connected":true`) && strings.Contains(b, `"skew"`) // measured by the server itself
	}
	second.eventually("host connected elsewhere", func() bool { return here(second) || here(third) })
	t.Logf("the host was back after %v", time.Since(killed))
	t.Logf("%q leads now", leader(second))
	time.Sleep(2 * time.Second)
	stop()
	done.Wait()
	t.Logf("%d writes were acknowledged; the longest pause was %v", len(w.acked), w.longest)
	if w.longest > 3*time.Second {
		t.Errorf("writes stood still for %v", w.longest)
	}
	first.start(first.file())
	for _, n := range []*node{first, second, third} {
		n.eventually("has every write", func() bool {
			for _, name := range w.acked {
				if _, status := n.ask("GET", "/subscriptions/"+sub+"/resourcegroups/"+name+"?api-version=2021-04-01", ""); status != 200 {
					return false
				}
			}
			return true
		})
	}
	// A server that is gone for good is removed; its name joins again with an empty disk.
	third.kill()
	if b, status := first.ask("DELETE", "/ringfence/v1/servers/s3", ""); status != 204 {
		t.Fatalf("%d %s", status, b)
	}
	os.RemoveAll(third.c.DataDir)
	again := joinAs(t, first, "s3")
	if _, status := again.ask("GET", "/subscriptions/"+sub+"/resourcegroups/"+w.acked[0]+"?api-version=2021-04-01", ""); status != 200 {
		t.Error("the new member lacks what the others have")
	}
}

// leader is the server that orders the writes.
func leader(n *node) string {
	b, _ := n.ask("GET", "/ringfence/v1/servers", "")
	var all struct {
		Value []struct {
			Name   string
			Leader bool
		}
	}
	json.Unmarshal([]byte(b), &all)
	for _, s := range all.Value {
		if s.Leader {
			return s.Name
		}
	}
	return ""
}

func connected(n *node, host string) bool {
	b, _ := n.ask("GET", "/ringfence/v1/hosts/"+host, "")
	return strings.Contains(b, `"connected":true`)
}

// joined is a host that only holds its stream: no kernel.
type joined struct {
	mu      sync.Mutex
	servers []string
	client  *publish.Client
}

func (j *joined) kept() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.servers
}

func joinHost(t *testing.T, at *node, name string) *joined {
	t.Helper()
	j, err := tryJoin(t, at, at.token("/ringfence/v1/hosts/"+name+"/add"))
	if err != nil {
		t.Fatal(err)
	}
	tc, err := j.ClientTLS(pki.ServerName)
	if err != nil {
		t.Fatal(err)
	}
	out := &joined{}
	c := publish.NewClient(publish.ClientOptions{Server: j.Server, TLS: tc, Keep: func(s []string) {
		out.mu.Lock()
		defer out.mu.Unlock()
		out.servers = s
	}, Hello: func() publish.Hello { return publish.Hello{Host: j.Name, Underlay: j.Underlay.Address} }})
	out.client = c
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { c.Run(ctx) })
	done.Go(func() {
		for {
			select {
			case g := <-c.Goals():
				c.Ack(g.Generation, "")
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() { stop(); done.Wait() })
	return out
}
