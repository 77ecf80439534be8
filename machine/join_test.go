package machine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"ringfence/host/agent"
	"ringfence/intent/identity/secret"
	"ringfence/pki"
	"ringfence/publish"
)

// tryJoin joins as a host would, in directories of its own. Its underlay address is one that nobody else has.
func tryJoin(t *testing.T, at *node, token string) (agent.Config, error) {
	t.Helper()
	return tryJoinFrom(t, at, token, "198.18.0.77")
}

func tryJoinFrom(t *testing.T, at *node, token, underlay string) (agent.Config, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	dir := t.TempDir()
	return JoinHost(ctx, HostJoin{Token: token, Server: at.c.Control.Listen, Underlay: "under0", Address: netip.MustParseAddr(underlay), DataDir: dir + "/d",
		RunDir: dir + "/r", BPFFS: dir + "/b"})
}

// A token lets one in, once, in its time, to its own installation; everybody else hears why not, and leaves nothing behind.
func TestJoining(t *testing.T) {
	n := newNode(t, "s1")
	n.start(n.file())
	add := "/ringfence/v1/hosts/h1/add"
	tok := n.token(add)
	refused := func(what, token, underlay, want string) {
		t.Helper()
		_, err := tryJoinFrom(t, n, token, underlay)
		var r *publish.Refused
		if !errors.As(err, &r) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	parsed, err := pki.ParseToken(tok)
	if err != nil {
		t.Fatal(err)
	}
	wrong := parsed
	wrong.Secret = strings.Repeat("a", 26)
	refused("a wrong secret", wrong.String(), "198.18.0.77", "not known here")
	other := parsed
	other.CA = strings.Repeat("0", 64)
	var stranger *pki.WrongAuthority
	if _, err := tryJoin(t, n, other.String()); !errors.As(err, &stranger) {
		t.Errorf("another installation's token: %v", err)
	}
	if _, err := tryJoin(t, n, n.token("/ringfence/v1/servers/s2/token")); err == nil || !strings.Contains(err.Error(), "server's") {
		t.Errorf("a server's token: %v", err)
	}

	c, err := tryJoin(t, n, tok) // none of them has spent it
	if err != nil {
		t.Fatal(err)
	}
	if again, err := agent.LoadConfig(AgentFile(strings.TrimSuffix(c.DataDir, "/host"))); err != nil || again.Name != "h1" {
		t.Errorf("what was kept: %+v, %v", again, err)
	}
	if st, err := os.Stat(c.Key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", st, err)
	}
	if b, _ := n.ask("GET", "/ringfence/v1/hosts/h1", ""); !strings.Contains(b, "198.18.0.77") {
		t.Errorf("not in the inventory: %s", b)
	}
	refused("used twice", tok, "198.18.0.78", "was used at")
	if b, status := n.ask("POST", add, ""); status != 409 || !strings.Contains(b, "host token h1") {
		t.Errorf("a name in use: %d %s", status, b)
	}
	refused("an address in use", n.token("/ringfence/v1/hosts/h2/add"), "198.18.0.77", "is host h1's")
	if b, status := n.ask("POST", "/ringfence/v1/hosts/h9/token", ""); status != 404 || !strings.Contains(b, "host add h9") {
		t.Errorf("unknown: %d %s", status, b)
	}
	for _, bad := range []string{"H1", "x_y", "-"} {
		if b, status := n.ask("POST", "/ringfence/v1/hosts/"+bad+"/add", ""); status != 400 {
			t.Errorf("name %s: %d %s", bad, status, b)
		}
	}
	if b, status := n.ask("POST", "/ringfence/v1/hosts/h3/add?life=1s", ""); status != 400 || !strings.Contains(b, "life") {
		t.Errorf("life: %d %s", status, b)
	}
}

// hears connects once with a host's files and says how the server answers.
func hears(t *testing.T, c agent.Config) string {
	t.Helper()
	tc, err := c.ClientTLS(pki.ServerName)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	var log strings.Builder
	cl := publish.NewClient(publish.ClientOptions{Server: c.Server, TLS: tc, Log: textLog(&log),
		Hello: func() publish.Hello { return publish.Hello{Host: c.Name, Underlay: c.Underlay.Address} }})
	done := make(chan struct{})
	go func() { cl.Run(ctx); close(done) }()
	select {
	case <-cl.Goals():
		stop()
		<-done
		return "goal"
	case <-done:
		return log.String()
	}
}

// Only the newest key of a host that is in the inventory is it.
func TestOldKeysOpenNothing(t *testing.T) {
	n := newNode(t, "s1")
	n.start(n.file())
	first, err := tryJoin(t, n, n.token("/ringfence/v1/hosts/h1/add"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hears(t, first); got != "goal" {
		t.Fatalf("the host hears %s", got)
	}
	second, err := tryJoin(t, n, n.token("/ringfence/v1/hosts/h1/token"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hears(t, first); !strings.Contains(got, "another key") {
		t.Errorf("the old key hears %s", got)
	}
	if got := hears(t, second); got != "goal" {
		t.Errorf("the new key hears %s", got)
	}
	if b, status := n.ask("DELETE", "/ringfence/v1/hosts/h1", ""); status != 204 {
		t.Fatalf("%d %s", status, b)
	}
	if got := hears(t, second); !strings.Contains(got, "not in the inventory") {
		t.Errorf("a removed host hears %s", got)
	}
	if b, _ := n.ask("GET", "/ringfence/v1/hosts", ""); strings.Contains(b, "h1") {
		t.Errorf("it is still there: %s", b)
	}
}

// A restart keeps everything: authority, hosts, writes, the default tenant.
func TestRestartKeepsEverything(t *testing.T) {
	n := newNode(t, "s1")
	n.start(n.file())
	sub := n.subscription()
	c, err := tryJoin(t, n, n.token("/ringfence/v1/hosts/h1/add"))
	if err != nil {
		t.Fatal(err)
	}
	path := "/subscriptions/" + sub + "/resourcegroups/kept?api-version=2021-04-01"
	if b, status := n.ask("PUT", path, `{"location":"westeurope"}`); status != 201 {
		t.Fatalf("%d %s", status, b)
	}
	n.kill()
	n.start(n.file())
	if n.subscription() != sub {
		t.Error("another tenant")
	}
	if b, status := n.ask("GET", path, ""); status != 200 {
		t.Errorf("%d %s", status, b)
	}
	if got := hears(t, c); got != "goal" {
		t.Errorf("the host hears %s", got)
	}
}

func textLog(w *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// Every tenant gets a service principal of its own, once; those that the configuration names stay alone.
func TestCredentials(t *testing.T) {
	text := strings.Replace(whole, "token: 0123456789abcdef, ", "", 1) +
		"- {name: fabrikam, id: u, subscriptions: [{id: s2, name: fabrikam}], clients: [{id: 11111111-1111-4111-8111-111111111111, name: own, secret_hash: x}]}\n"
	text = strings.Replace(text, "clients: [{id: 11111111-1111-4111-8111-111111111111, name: own, secret_hash: x}]",
		"clients: [{id: 11111111-1111-4111-8111-111111111111, name: own, secret_hash: '"+secret.Hash("word")+"'}]", 1)
	once := func(dir string) *State {
		t.Helper()
		c, err := Parse([]byte("data_dir: " + dir + "\n" + text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ensureClients(); err != nil {
			t.Fatal(err)
		}
		if len(c.Tenants[0].Clients) == 1 && c.Tenants[1].Clients[0].Name != "own" {
			t.Errorf("%+v", c.Tenants)
		}
		s, err := c.state()
		if err != nil {
			t.Fatal(err)
		}
		if w := s.Tenants[0]; w.ClientSecret != "" && !secret.Matches(c.Tenants[0].Clients[0].Hash, w.ClientSecret) {
			t.Error("the hash is of another secret")
		}
		return s
	}
	dir := t.TempDir()
	a, b := once(dir), once(dir)
	if a.Tenants[0].ClientSecret == "" || a.Tenants[0] != b.Tenants[0] || a.Tenants[1].ClientID != "" {
		t.Errorf("%+v\n%+v", a.Tenants, b.Tenants)
	}
	if st, err := os.Stat(dir + "/" + credentialsFile); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	joined := t.TempDir()
	if err := os.WriteFile(joined+"/"+clusterFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := once(joined); s.Tenants[0].ClientID != "" {
		t.Error("a server that joined makes principals that the others do not know")
	}
}

// A configuration of a machine names a store as one of a server does: what is restored there is what was saved, and Up goes on from it.
func TestRestoreByTheMachinesConfiguration(t *testing.T) {
	n := newNode(t, "s1")
	n.start(n.file())
	path := "/subscriptions/" + n.subscription() + "/resourcegroups/kept?api-version=2021-04-01"
	if b, status := n.ask("PUT", path, `{"location":"westeurope"}`); status != 201 {
		t.Fatalf("%d %s", status, b)
	}
	backup, status := n.ask("GET", "/ringfence/v1/backup", "")
	if status != 200 {
		t.Fatal(status)
	}
	n.kill()
	if _, err := Restore(context.Background(), n.file(), strings.NewReader(backup)); err == nil {
		t.Error("restored over a store")
	}
	if err := os.RemoveAll(n.c.file("etcd")); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(context.Background(), n.file(), strings.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	n.start(n.file())
	if b, status := n.ask("GET", path, ""); status != 200 {
		t.Errorf("%d %s", status, b)
	}
}
