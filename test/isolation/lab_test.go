package isolation

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringfence/goal"
)

// lab is the running lab: two hosts; of each tenant a1 on host1 and a2 on host2 in subnet a, which has the NSG n. Contoso has b1 on host1 in
// subnet b, which has none; fabrikam has c1 on host1 in a network that only it has.
type lab struct {
	name     string
	state    state
	vms      map[string]*vm // "contoso/a1"
	tenants  map[string]*http.Client
	operator *http.Client
	started  []*exec.Cmd // agents of the test's own
}

// state is what the test reads of lab.json.
type state struct {
	Endpoint, CA, Socket, Internet string
	RunDir                         string `json:"run_dir"`
	Hosts                          []struct{ Name, Netns, Underlay, Management, Uplink string }
	Tenants                        []struct{ Name, Subscription, Token string }
	Processes                      []struct {
		Name   string
		PID    int
		Config string
	}
}

// vm is a machine as the goal and its host know it.
type vm struct {
	name   string // "contoso/a1"
	host   string
	netns  string
	port   goal.Port
	ip, v6 netip.Addr
}

const network = "/providers/Microsoft.Network/"

var machines = []struct{ tenant, name, subnet, ip, host string }{
	{"contoso", "a1", "a", "10.0.1.4", "host1"}, {"contoso", "a2", "a", "10.0.1.5", "host2"}, {"contoso", "b1", "b", "10.0.2.4", "host1"},
	{"fabrikam", "a1", "a", "10.0.1.4", "host1"}, {"fabrikam", "a2", "a", "10.0.1.5", "host2"}, {"fabrikam", "c1", "c", "172.16.3.4", "host1"},
}

func (l *lab) up() error {
	l.vms, l.tenants = map[string]*vm{}, map[string]*http.Client{}
	file, err := writeLimits()
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(file))
	if err := l.command("lab", "up", "--name", l.name, "--hosts", "2", "--config", file); err != nil {
		return err
	}
	b, err := os.ReadFile("/run/ringfence/" + l.name + "/lab.json")
	if err == nil {
		err = json.Unmarshal(b, &l.state)
	}
	if err == nil {
		err = l.connect()
	}
	if err != nil {
		return fmt.Errorf("lab.json: %w", err)
	}
	errs := make([]error, len(l.state.Tenants))
	var made sync.WaitGroup
	for i, t := range l.state.Tenants {
		made.Go(func() { errs[i] = l.furnish(t.Name) })
	}
	made.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return l.learn()
}

// connect makes a client per tenant, with its token over TLS, and the operator's.
func (l *lab) connect() error {
	pem, err := os.ReadFile(l.state.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	for _, t := range l.state.Tenants {
		l.tenants[t.Name] = &http.Client{Timeout: 30 * time.Second, Transport: &bearer{t.Token, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
	}
	l.operator = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.state.Socket)
	}}}
	return nil
}

type bearer struct {
	token string
	http.RoundTripper
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(r)
}

// command runs the program.
func (l *lab) command(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "RINGFENCE_LAB="+l.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ringfence %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// furnish makes a tenant's network and machines.
func (l *lab) furnish(tenant string) error {
	space, more := `"10.0.0.0/16","fd00:1::/48"`, ""
	if tenant == "fabrikam" {
		space += `,"172.16.0.0/16"`
		more = `,{"name":"c","properties":{"addressPrefixes":["172.16.3.0/24","fd00:1:0:3::/64"]}}`
	}
	nsg := l.path(tenant, network+"networkSecurityGroups/n")
	for _, r := range []struct{ path, body string }{
		{strings.TrimSuffix(l.path(tenant, ""), "/"), `{"location":"westeurope"}`},
		{nsg, nsgBody("")},
		{l.path(tenant, network+"virtualNetworks/v"), `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":[` + space + `]},"subnets":[
			{"name":"a","properties":{"addressPrefixes":["10.0.1.0/24","fd00:1:0:1::/64"],"networkSecurityGroup":{"id":"` + nsg + `"}}},
			{"name":"b","properties":{"addressPrefixes":["10.0.2.0/24","fd00:1:0:2::/64"]}}` + more + `]}}`},
	} {
		if err := l.write(tenant, r.path, r.body); err != nil {
			return err
		}
	}
	for _, m := range machines {
		if m.tenant != tenant {
			continue
		}
		if err := l.command("vm", "create", "-g", "g", "-n", m.name, "--vnet-name", "v", "--subnet", m.subnet, "--ipv6", "--private-ip-address", m.ip,
			"--host", m.host, "--as", tenant); err != nil {
			return err
		}
	}
	return nil
}

func nsgBody(rules string) string {
	return `{"location":"westeurope","properties":{"securityRules":[` + rules + `]}}`
}

// rule is a rule for inbound UDP or TCP to a range of ports.
func rule(name string, priority int, access, protocol, ports string) string {
	return fmt.Sprintf(`{"name":"%s","properties":{"priority":%d,"direction":"Inbound","access":"%s","protocol":"%s","sourceAddressPrefix":"*",
		"sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"%s"}}`, name, priority, access, protocol, ports)
}

func (l *lab) path(tenant, path string) string {
	for _, t := range l.state.Tenants {
		if t.Name == tenant {
			return "/subscriptions/" + t.Subscription + "/resourceGroups/g" + path
		}
	}
	return ""
}

// write puts a resource and returns when it is enforced.
func (l *lab) write(tenant, path, body string) error {
	url := l.state.Endpoint + path + "?api-version=2024-05-01"
	for method, end := http.MethodPut, time.Now().Add(30*time.Second); ; method, body = http.MethodGet, "" {
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		var got struct {
			Properties struct{ ProvisioningState string }
		}
		if err := do(l.tenants[tenant], req, &got); err != nil {
			return err
		}
		if got.Properties.ProvisioningState == "Succeeded" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is still %q", path, got.Properties.ProvisioningState)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func do(c *http.Client, req *http.Request, into any) error {
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", req.Method, req.URL, res.Status, b)
	}
	if err != nil {
		return err
	}
	return json.NewDecoder(bytes.NewReader(b)).Decode(into)
}

// rules replaces contoso's NSG of subnet a.
func (l *lab) rules(t *testing.T, rules ...string) {
	t.Helper()
	if err := l.write("contoso", l.path("contoso", network+"networkSecurityGroups/n"), nsgBody(strings.Join(rules, ","))); err != nil {
		t.Fatal(err)
	}
}

// ask asks the operator's API.
func (l *lab) ask(path string, into any) error {
	req, err := http.NewRequest(http.MethodGet, "http://operator/ringfence/v1/"+path, nil)
	if err != nil {
		return err
	}
	return do(l.operator, req, into)
}

// goals are what the hosts have to enforce now.
func (l *lab) goals() (map[string]*goal.Host, error) {
	out := map[string]*goal.Host{}
	for _, h := range l.state.Hosts {
		out[h.Name] = &goal.Host{}
		if err := l.ask("goal/"+h.Name+"?format=json", out[h.Name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// learn finds out which port each machine has.
func (l *lab) learn() error {
	goals, err := l.goals()
	if err != nil {
		return err
	}
	var boxes struct {
		Value []struct {
			Host, Netns string
			Port        uint32
			Ready       bool
		}
	}
	if err := l.ask("sandboxes", &boxes); err != nil {
		return err
	}
	for _, b := range boxes.Value {
		for _, p := range goals[b.Host].Ports {
			if p.Index != b.Port {
				continue
			}
			m := &vm{host: b.Host, netns: filepath.Base(b.Netns), port: p, ip: p.Addresses[0].IP, v6: p.Addresses[1].IP}
			for _, t := range l.state.Tenants {
				if strings.Contains(strings.ToLower(p.VM), strings.ToLower(t.Subscription)) {
					m.name = t.Name + "/" + p.VM[strings.LastIndexByte(p.VM, '/')+1:]
				}
			}
			if !b.Ready {
				return fmt.Errorf("%s is not configured", m.name)
			}
			l.vms[m.name] = m
		}
	}
	if len(l.vms) != len(machines) {
		return fmt.Errorf("%d machines of %d", len(l.vms), len(machines))
	}
	return nil
}

// host is a host's namespace.
func (l *lab) host(name string) string { return "rf-" + l.name + "-" + name }

// killAgent ends a host's agent as a crash would.
func (l *lab) killAgent(t *testing.T, host string) (config string) {
	t.Helper()
	for i := range l.state.Processes {
		p := &l.state.Processes[i]
		if p.Name != host {
			continue
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); running(p.PID); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the agent of %s does not die", host)
			}
		}
		l.until(t, host, "disconnected", func(connected, _ bool) bool { return !connected })
		return p.Config
	}
	t.Fatalf("no agent of %s", host)
	return ""
}

// running tells whether a process lives; a zombie does not.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// startAgent starts an agent in the place of one that was ended, and waits until it enforces the newest goal.
func (l *lab) startAgent(t *testing.T, host, config string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(filepath.Dir(config), "agent.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, "lab", "exec", host, "--", program, "agent", "--config", config)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), "RINGFENCE_LAB="+l.name)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.started = append(l.started, cmd)
	for i := range l.state.Processes {
		if l.state.Processes[i].Name == host {
			l.state.Processes[i].PID = cmd.Process.Pid
		}
	}
	l.until(t, host, "connected and up to date", func(connected, upToDate bool) bool { return connected && upToDate })
}

// until waits for what the server says about a host.
func (l *lab) until(t *testing.T, host, what string, ok func(connected, upToDate bool) bool) {
	t.Helper()
	var hosts struct {
		Value []struct {
			Name              string
			Connected         bool
			Generation, Acked uint64
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := l.ask("hosts", &hosts)
		for _, h := range hosts.Value {
			if h.Name == host && ok(h.Connected, h.Acked >= h.Generation) {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s was never %s: %+v %v", host, what, hosts.Value, err)
		}
	}
}

// bury ends the agents that the test started.
func (l *lab) bury() {
	for _, cmd := range l.started {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

func (l *lab) tellLogs(t *testing.T) {
	logs, _ := filepath.Glob(filepath.Join(l.state.RunDir, "host*", "*.log"))
	for _, f := range append(logs, filepath.Join(l.state.RunDir, "server.log")) {
		b, _ := os.ReadFile(f)
		t.Logf("%s:\n%s", f, b[max(0, len(b)-1500):])
	}
}
