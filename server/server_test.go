package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/intent/arm"
	"ringfence/intent/identity"
	"ringfence/intent/login"
	"ringfence/intent/store"
	"ringfence/publish"
)

const (
	subscription = "11111111-1111-1111-1111-111111111111"
	group        = "/subscriptions/" + subscription + "/resourceGroups/g"
	network      = group + "/providers/Microsoft.Network/"
	compute      = group + "/providers/Microsoft.Compute/"
)

// plane is a control plane under test: store, server, API, and what hosts need to call it.
type plane struct {
	*Server
	t     testing.TB
	url   string
	agent string // address for hosts
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey
}

func newPlane(t testing.TB) *plane {
	t.Helper()
	dir, err := os.MkdirTemp("", "rf") // short: it holds unix sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return newPlaneOn(t, store.Options{DataDir: filepath.Join(dir, "d"), RunDir: dir, NoSync: true,
		PrefixLists: map[string][]netip.Prefix{"Storage": {netip.MustParsePrefix("203.0.113.0/28")}}})
}

// beside makes another server on the same etcd.
func (p *plane) beside() *plane {
	p.t.Helper()
	return newPlaneOn(p.t, store.Options{Endpoints: p.store.Endpoints()})
}

func newPlaneOn(t testing.TB, o store.Options) *plane {
	t.Helper()
	s, err := store.Open(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p := &plane{Server: New(s, "", slog.New(slog.DiscardHandler)), t: t}
	p.authority()
	directory, err := identity.New([]identity.Tenant{{Name: "contoso", ID: "t", Token: "0123456789abcdef",
		Subscriptions: []identity.Subscription{{ID: subscription, Name: "contoso"}}}})
	if err != nil {
		t.Fatal(err)
	}
	api := arm.New(arm.Deps{Snapshot: func() arm.Snapshot { return s.Snapshot() }, Admit: p.Server, Questions: p.Server, Identity: directory, Wait: 300 * time.Millisecond})
	p.Server.identity = directory
	directory.Keep(s)
	both := route(p.Operator(), api, login.New(directory, slog.New(slog.DiscardHandler), nil), directory)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Operator") != "" {
			r = r.WithContext(identity.AsOperator(r.Context()))
		}
		both.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	p.url = web.URL
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.agent = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { p.Run(ctx); done <- struct{}{} }()
	go func() {
		p.publisher.Serve(ctx, l, &tls.Config{Certificates: []tls.Certificate{p.issue("server")}, ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs: p.pool(), MinVersion: tls.VersionTLS13})
		done <- struct{}{}
	}()
	t.Cleanup(func() { cancel(); <-done; <-done })
	return p
}

func (p *plane) authority() {
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		p.t.Fatal(err)
	}
	p.ca = &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, p.ca, p.ca, &p.key.PublicKey, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.ca, err = x509.ParseCertificate(der); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plane) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.ca)
	return pool
}

func (p *plane) issue(name string) tls.Certificate {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, p.ca, &p.key.PublicKey, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: p.key}
}

// fakeHost is a connected host whose acknowledgements the test gives.
type fakeHost struct {
	*publish.Client
	t     testing.TB
	leave func()
}

func (p *plane) host(name, underlay string) *fakeHost {
	p.t.Helper()
	return p.hostThat(name, underlay, func(kind string) (json.RawMessage, error) {
		return json.RawMessage(`[{"vm":"/a","packets":1},{"vm":"/b","packets":2}]`), nil
	})
}

// hostThat is a host with answers of its own.
func (p *plane) hostThat(name, underlay string, answer func(kind string) (json.RawMessage, error)) *fakeHost {
	p.t.Helper()
	c := publish.NewClient(publish.ClientOptions{Server: p.agent,
		TLS:    &tls.Config{RootCAs: p.pool(), ServerName: "server", Certificates: []tls.Certificate{p.issue(name)}},
		Hello:  func() publish.Hello { return publish.Hello{Host: name, Underlay: netip.MustParseAddr(underlay)} },
		Answer: answer})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	h := &fakeHost{c, p.t, func() { cancel(); <-done }}
	p.t.Cleanup(h.leave)
	return h
}

// next is the host's next goal.
func (h *fakeHost) next() *goal.Host {
	h.t.Helper()
	select {
	case g := <-h.Goals():
		return g
	case <-time.After(10 * time.Second):
		h.t.Fatal("no goal came")
		return nil
	}
}

// obey acknowledges every goal until the test ends.
func (h *fakeHost) obey() {
	ctx, cancel := context.WithCancel(context.Background())
	h.t.Cleanup(cancel)
	go func() {
		for {
			select {
			case g := <-h.Goals():
				h.Ack(g.Generation, "")
			case <-ctx.Done():
				return
			}
		}
	}()
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) state(t testing.TB) string {
	t.Helper()
	var b struct {
		Properties struct{ ProvisioningState string }
	}
	if err := json.Unmarshal(r.body, &b); err != nil {
		t.Fatalf("answer %d %s: %v", r.status, r.body, err)
	}
	return b.Properties.ProvisioningState
}

func (r reply) code() string {
	var b struct{ Error struct{ Code string } }
	json.Unmarshal(r.body, &b)
	return b.Error.Code
}

// do sends a request as the tenant; a path under /ringfence/ as the operator.
func (p *plane) do(method, path, body string) reply {
	p.t.Helper()
	return p.doWith(method, path, body, nil)
}

func (p *plane) doWith(method, path, body string, headers map[string]string) reply {
	p.t.Helper()
	url := path
	if !strings.HasPrefix(path, "http") {
		url = p.url + path
	}
	if !strings.Contains(url, "?") {
		url += "?api-version=2024-05-01"
	}
	req, err := http.NewRequestWithContext(within(p.t), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer 0123456789abcdef")
	if strings.HasPrefix(path, "/ringfence/") {
		req.Header.Set("Operator", "yes")
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

// must is a PUT that succeeds at once.
func (p *plane) must(path, body string) reply {
	p.t.Helper()
	r := p.do(http.MethodPut, path, body)
	if s := r.state(p.t); r.status/100 != 2 || s != "Succeeded" {
		p.t.Fatalf("PUT %s: %d %s", path, r.status, r.body)
	}
	return r
}

// network makes a group, a VNet with two subnets, a NIC and its VM on host1.
func (p *plane) network() {
	p.t.Helper()
	p.must(group, `{"location":"westeurope"}`)
	p.must(network+"networkSecurityGroups/n", nsg(100))
	p.must(network+"virtualNetworks/v", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16","10.1.0.0/16","10.2.0.0/16"]},"subnets":[
		{"name":"wide-a","properties":{"addressPrefix":"10.1.0.0/16"}},{"name":"wide-b","properties":{"addressPrefix":"10.2.0.0/16"}},
		{"name":"a","properties":{"addressPrefix":"10.0.1.0/24","networkSecurityGroup":{"id":"`+network+`networkSecurityGroups/n"}}},
		{"name":"b","properties":{"addressPrefix":"10.0.2.0/24"}}]}}`)
	p.must(network+"networkInterfaces/i", nic("a"))
	p.must(compute+"virtualMachines/m", vm("m", "i", "host1"))
}

func nsg(priority int) string {
	return fmt.Sprintf(`{"location":"westeurope","properties":{"securityRules":[{"name":"r","properties":{"priority":%d,"direction":"Inbound",
		"access":"Deny","protocol":"Tcp","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"80"}}]}}`, priority)
}

func nic(subnet string) string {
	return `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"` + network + `virtualNetworks/v/subnets/` + subnet + `"}}}]}}`
}

func vm(name, nic, host string) string {
	return `{"location":"westeurope","tags":{"ringfence-host":"` + host + `"},"properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},
		"osProfile":{"computerName":"` + name + `","adminUsername":"u"},"networkProfile":{"networkInterfaces":[{"id":"` + network + `networkInterfaces/` + nic + `"}]}}}`
}

func (p *plane) twoHosts() (h1, h2 *fakeHost) {
	h1, h2 = p.host("host1", "198.18.0.11"), p.host("host2", "198.18.0.12")
	h1.obey()
	h2.obey()
	p.settled()
	return h1, h2
}

// settled waits until two hosts are connected and enforce what they were given.
func (p *plane) settled() {
	p.t.Helper()
	eventually(p.t, "hosts connected and settled", func() bool {
		hosts := p.publisher.Hosts()
		return len(hosts) == 2 && hosts[0].Connected && hosts[1].Connected && hosts[0].Acked > 0 && hosts[1].Acked > 0
	})
}

// A success answer means enforced: it comes after the acknowledgement of every host that the write concerns, and not of others.
func TestSucceededMeansEnforced(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	g, ok := p.Goal("host1")
	if !ok || len(g.Ports) != 1 || g.Ports[0].Addresses[0].IP != netip.MustParseAddr("10.0.1.4") {
		t.Fatalf("goal of host1: %v", g)
	}
	status := p.publisher.Hosts()
	if status[0].Acked < g.Generation {
		t.Errorf("answered before host1 acknowledged: %+v", status)
	}
	if g2, _ := p.Goal("host2"); len(g2.Ports) != 0 {
		t.Errorf("host2 has ports %+v", g2.Ports)
	}
}

// A host that takes its time makes the answer Updating, with an operation that ends when the host has acknowledged.
func TestSlowHostMakesTheAnswerUpdating(t *testing.T) {
	p := newPlane(t)
	h := p.host("host1", "198.18.0.11")
	slow := make(chan *goal.Host, 100)
	var hold atomic.Bool
	go func() {
		for g := range h.Goals() {
			if hold.Load() {
				slow <- g
				continue
			}
			h.Ack(g.Generation, "")
		}
	}()
	eventually(t, "connected", func() bool { s := p.publisher.Hosts(); return len(s) == 1 && s[0].Acked > 0 })
	p.network()
	hold.Store(true)
	r := p.do(http.MethodPut, network+"networkSecurityGroups/n", nsg(200))
	poll := r.header.Get("Azure-AsyncOperation")
	if r.status != 200 || r.state(t) != "Updating" || poll == "" {
		t.Fatalf("answer %d %s, operation %q", r.status, r.body, poll)
	}
	if s := p.do(http.MethodGet, network+"networkSecurityGroups/n", "").state(t); s != "Updating" {
		t.Errorf("GET meanwhile says %s", s)
	}
	if r := p.do(http.MethodGet, poll, ""); !bytes.Contains(r.body, []byte("InProgress")) {
		t.Errorf("the operation says %s", r.body)
	}
	// What does not concern the host does not wait for it.
	p.must(network+"networkSecurityGroups/other", nsg(100))
	g := <-slow
	h.Ack(g.Generation, "")
	eventually(t, "the operation ends", func() bool {
		return bytes.Contains(p.do(http.MethodGet, poll, "").body, []byte(`"Succeeded"`))
	})
	if s := p.do(http.MethodGet, network+"networkSecurityGroups/n", "").state(t); s != "Succeeded" {
		t.Errorf("GET afterwards says %s", s)
	}
}

// A host that cannot enforce a write makes it fail, and says why, in the answer and in the list of hosts.
func TestProblemOfAHost(t *testing.T) {
	p := newPlane(t)
	p.patience = 50 * time.Millisecond
	h := p.host("host1", "198.18.0.11")
	var problem atomic.Value
	problem.Store("")
	go func() {
		for g := range h.Goals() {
			h.Ack(g.Generation, problem.Load().(string))
		}
	}()
	eventually(t, "connected", func() bool { s := p.publisher.Hosts(); return len(s) == 1 && s[0].Acked > 0 })
	p.network()
	problem.Store("group n does not fit into the map")
	r := p.do(http.MethodPut, network+"networkSecurityGroups/n", nsg(300))
	if s := r.state(t); s != "Failed" {
		t.Errorf("answer %d %s", r.status, r.body)
	}
	if poll := r.header.Get("Azure-AsyncOperation"); poll != "" {
		if o := p.do(http.MethodGet, poll, ""); !bytes.Contains(o.body, []byte("does not fit")) {
			t.Errorf("the operation says %s", o.body)
		}
	} else {
		t.Error("a failed write has no operation that says why")
	}
	if b := p.do(http.MethodGet, "/ringfence/v1/hosts", "").body; !bytes.Contains(b, []byte("does not fit")) {
		t.Errorf("hosts: %s", b)
	}
}

// A problem that the host overcomes by itself is none.
func TestPassingProblem(t *testing.T) {
	p := newPlane(t)
	h := p.host("host1", "198.18.0.11")
	go func() {
		for g := range h.Goals() {
			h.Ack(g.Generation, "try again")
			time.Sleep(20 * time.Millisecond)
			h.Ack(g.Generation, "")
		}
	}()
	eventually(t, "connected", func() bool { s := p.publisher.Hosts(); return len(s) == 1 && s[0].Acked > 0 })
	p.network()
}

// A host that is not connected is not waited for.
func TestAbsentHostIsNotWaitedFor(t *testing.T) {
	p := newPlane(t)
	h1, _ := p.twoHosts()
	p.network()
	h1.leave()
	eventually(t, "host1 is gone", func() bool { return !p.publisher.Hosts()[0].Connected })
	eventually(t, "the store knows", func() bool { return !p.store.Snapshot().Hosts()[0].Connected })
	p.must(network+"networkSecurityGroups/n", nsg(400))
	again := p.host("host1", "198.18.0.11")
	g := again.next()
	if len(g.Groups) != 1 || g.Groups[0].In[0].Priority != 400 {
		t.Errorf("the goal after the return: %s", goal.Text(g))
	}
}

// A refused write leaves store and goals as they were.
func TestRefusedWriteChangesNothing(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	before, text := p.store.Snapshot().Revision(), p.text("host1")
	refused := map[string]struct{ method, path, body, code string }{
		"overlapping subnets": {"PUT", network + "virtualNetworks/v", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
			{"name":"a","properties":{"addressPrefix":"10.0.1.0/24"}},{"name":"b","properties":{"addressPrefix":"10.0.1.128/25"}}]}}`, "NetcfgSubnetRangesOverlap"},
		"subnet in use removed": {"PUT", network + "virtualNetworks/v", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
			{"name":"b","properties":{"addressPrefix":"10.0.2.0/24"}}]}}`, "InUseSubnetCannotBeDeleted"},
		"NSG in use":      {"DELETE", network + "networkSecurityGroups/n", "", "InUseNetworkSecurityGroupCannotBeDeleted"},
		"VNet in use":     {"DELETE", network + "virtualNetworks/v", "", "InUseSubnetCannotBeDeleted"},
		"NIC in use":      {"DELETE", network + "networkInterfaces/i", "", "NicInUse"},
		"unknown subnet":  {"PUT", network + "networkInterfaces/j", nic("nowhere"), "InvalidResourceReference"},
		"address taken":   {"PUT", network + "networkInterfaces/j", strings.Replace(nic("a"), `"properties":{"subnet"`, `"properties":{"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.1.4","subnet"`, 1), "PrivateIPAddressIsAllocated"},
		"unknown host":    {"PUT", compute + "virtualMachines/m2", vm("m2", "i", "nowhere"), ""},
		"broken JSON":     {"PUT", network + "networkSecurityGroups/n", `{"location":`, ""},
		"priority in use": {"PUT", network + "networkSecurityGroups/n/securityRules/s", `{"properties":{"priority":100,"direction":"Inbound","access":"Allow","protocol":"*","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"*"}}`, "SecurityRuleConflict"},
	}
	for name, c := range refused {
		r := p.do(c.method, c.path, c.body)
		if r.status < 400 || r.status >= 500 || c.code != "" && r.code() != c.code {
			t.Errorf("%s: %d %s, want %s", name, r.status, r.body, c.code)
		}
	}
	if now := p.store.Snapshot().Revision(); now != before || p.text("host1") != text {
		t.Errorf("revision %d became %d, or the goal changed", before, now)
	}
}

func (p *plane) text(host string) string {
	g, ok := p.Goal(host)
	if !ok {
		return ""
	}
	return goal.Text(g)
}

// Many writers at once get different addresses, and none is lost.
func TestWritersAtOnce(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	const n = 20
	results := make(chan reply, n)
	for i := range n {
		go func() { results <- p.do(http.MethodPut, network+fmt.Sprintf("networkInterfaces/n%d", i), nic("b")) }()
	}
	seen := map[string]bool{}
	for range n {
		r := <-results
		var b struct {
			Properties struct {
				IPConfigurations []struct {
					Properties struct{ PrivateIPAddress string }
				}
			}
		}
		if err := json.Unmarshal(r.body, &b); err != nil || r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		seen[b.Properties.IPConfigurations[0].Properties.PrivateIPAddress] = true
	}
	if len(seen) != n || !seen["10.0.2.4"] || !seen["10.0.2.23"] {
		t.Errorf("addresses %v", seen)
	}
}

func TestGroupGoesWithEverythingInIt(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	r := p.do(http.MethodDelete, group, "")
	if r.status != 200 && r.status != 202 {
		t.Fatalf("delete: %d %s", r.status, r.body)
	}
	eventually(t, "everything is gone", func() bool { return p.store.Snapshot().Len() == 0 })
	eventually(t, "the host has no port", func() bool { g, _ := p.Goal("host1"); return len(g.Ports) == 0 })
}

func TestOperatorsRoutes(t *testing.T) {
	p := newPlane(t)
	h1, _ := p.twoHosts()
	p.network()
	id := compute + "virtualMachines/m"
	h1.Report(publish.Report{Sandboxes: []publish.Sandbox{{VM: id, Netns: "ns", Port: 1}}})
	eventually(t, "reported", func() bool { return len(p.sandboxes("")) == 1 })
	go func() {
		time.Sleep(50 * time.Millisecond)
		h1.Report(publish.Report{Sandboxes: []publish.Sandbox{{VM: id, Netns: "ns", Port: 1, Ready: true}}})
	}()
	for path, want := range map[string]string{
		"/ringfence/v1/ready":                                        `"revision"`,
		"/ringfence/v1/hosts":                                        `"name":"host1"`,
		"/ringfence/v1/goal/host1":                                   "host host1\n",
		"/ringfence/v1/goal/host1?format=json":                       `"Name":"host1"`,
		"/ringfence/v1/goal/host9":                                   "HostNotFound",
		"/ringfence/v1/sandboxes?wait=10s&id=" + strings.ToUpper(id): `"ready":true`,
		"/ringfence/v1/sandboxes?id=/nobody":                         `{"value":[]}`,
		"/ringfence/v1/drops?host=host2&vm=/b":                       `{"value":[{"host":"host2","packets":2,"vm":"/b"}]}`,
		"/ringfence/v1/flows?host=host9":                             "HostNotFound",
		"/ringfence/v1/nonsense":                                     "No such route",
	} {
		if r := p.do(http.MethodGet, path, ""); !bytes.Contains(r.body, []byte(want)) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	// A tenant learns nothing of them.
	r := p.do(http.MethodGet, p.url+"/ringfence/v1/hosts?api-version=2024-05-01", "")
	if r.status < 400 || bytes.Contains(r.body, []byte("host1")) {
		t.Errorf("a tenant is told: %d %s", r.status, r.body)
	}
}

// A write at one server waits for a host that speaks to another one, and both servers say the same.
func TestTwoServers(t *testing.T) {
	a := newPlane(t)
	b := a.beside()
	var held atomic.Bool
	goals := make(chan uint64, 100)
	h1, h2 := a.host("host1", "198.18.0.11"), b.host("host2", "198.18.0.12")
	h2.obey()
	go func() {
		for g := range h1.Goals() {
			if held.Load() {
				goals <- g.Generation
				continue
			}
			h1.Ack(g.Generation, "")
		}
	}()
	settled := func(p *plane) bool {
		hosts := p.store.Snapshot().Hosts()
		return len(hosts) == 2 && hosts[0].Connected && hosts[1].Connected && len(p.store.Snapshot().Acks()) == 2
	}
	eventually(t, "both servers know both hosts", func() bool { return settled(a) && settled(b) })
	b.network()
	if g, _ := a.Goal("host1"); len(g.Ports) != 1 {
		t.Errorf("b answered before a gave host1 its goal: %s", goal.Text(g))
	}
	held.Store(true)
	r := b.do(http.MethodPut, network+"networkSecurityGroups/n", nsg(500))
	if r.state(t) != "Updating" {
		t.Fatalf("answer %s while host1 has not acknowledged at the other server", r.body)
	}
	h1.Ack(<-goals, "")
	poll := r.header.Get("Azure-AsyncOperation")
	for _, p := range []*plane{a, b} {
		path := p.url + poll[strings.Index(poll, "/subscriptions"):]
		eventually(t, "the operation ends at each server", func() bool {
			return bytes.Contains(p.do(http.MethodGet, path, "").body, []byte(`"Succeeded"`))
		})
	}
	held.Store(false)

	const n = 20
	results := make(chan reply, n)
	for i := range n {
		go func() {
			results <- []*plane{a, b}[i%2].do(http.MethodPut, network+fmt.Sprintf("networkInterfaces/n%d", i), nic("b"))
		}()
	}
	for range n {
		if r := <-results; r.status != 201 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	eventually(t, "the first server knows them all", func() bool { return len(a.store.Snapshot().View().NICs) == n+1 })
	seen := map[string]bool{}
	for _, d := range a.store.Snapshot().View().NICs {
		seen[d.IPConfigs[0].IP.String()] = true
	}
	if len(seen) != n+1 {
		t.Errorf("%d addresses for %d interfaces: %v", len(seen), n+1, seen)
	}
}

// Two hosts cannot have one tunnel endpoint.
func TestUnderlayAddressBelongsToOneHost(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.host("host3", "198.18.0.12")
	time.Sleep(300 * time.Millisecond)
	for _, h := range p.publisher.Hosts() {
		if h.Name == "host3" {
			t.Errorf("host3 was let in: %+v", h)
		}
	}
}

func TestForwardersAreRead(t *testing.T) {
	c := Config{Forwarders: []string{"192.0.2.53", "[2001:db8::53]:5353"}}
	got, err := c.forwarders()
	if err != nil || fmt.Sprint(got) != "[192.0.2.53:53 [2001:db8::53]:5353]" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "192.0.2.53:0", "0.0.0.0", "224.0.0.1", "fe80::1%eth0"} {
		if _, err := (&Config{Forwarders: []string{bad}}).forwarders(); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	_, err := ParseConfig([]byte("data_dir: here\nlisten: nowhere\npublish: {listen: '1.2.3.4:5', netns: /n, ca: /a, cert: /b, key: /c}\nprefix_lists: {'1x': [10.0.0.1/8]}\ndns_forwarders: [192.0.2.53, nobody]\nlog: loud\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`data_dir "here"`, `run_dir ""`, `listen "nowhere"`, `tls.cert`, `"1x"`, "10.0.0.1/8", `log "loud"`, `dns_forwarders[1] "nobody"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if _, err := ParseConfig([]byte("data_dir: /d\ncolour: blue\n")); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an unknown field: %v", err)
	}
}
