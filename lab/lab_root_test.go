package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
	"ringfence/pki"
)

var counter atomic.Int64

// labName is unique to this process and short; the lab is taken down at the test's end and must be gone without a trace.
func labName(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name := "t" + strconv.FormatInt(int64(os.Getpid()), 36) + "x" + strconv.FormatInt(counter.Add(1), 36)
	t.Cleanup(func() {
		if err := Down(context.Background(), name); err != nil {
			t.Error(err)
		}
		gone(t, name)
	})
	return name
}

// gone fails when anything of the lab is left.
func gone(t *testing.T, name string) {
	t.Helper()
	if left, err := netns.List(netnsPrefix(name)); err != nil || len(left) > 0 {
		t.Errorf("namespaces left: %v, %v", left, err)
	}
	if pids, err := owned(name, nil); err != nil || len(pids) > 0 {
		t.Errorf("processes left: %v, %v", pids, err)
	}
	for _, dir := range []string{runDir(name), dataDir(name), pinDir(name)} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left (%v)", dir, err)
		}
	}
}

func on(t *testing.T, s *State, node string, argv ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := Start(s, node, cmd); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	return out.String(), err
}

func ping(t *testing.T, s *State, node, to string, more ...string) error {
	t.Helper()
	_, err := on(t, s, node, append([]string{"ping", "-c1", "-W0.4", "-n", to}, more...)...)
	return err
}

// reaches is ping for what must work: a link that has just come up may lose the first packet.
func reaches(t *testing.T, s *State, node, to string, more ...string) (err error) {
	t.Helper()
	for range 5 {
		if err = ping(t, s, node, to, more...); err == nil {
			return nil
		}
	}
	return err
}

// The topology alone: who reaches whom, with which MTU, and what stays shut.
func TestTopology(t *testing.T) {
	name := labName(t)
	if err := preflight(name); err != nil {
		t.Fatal(err)
	}
	if err := lay(name, 3); err != nil {
		t.Fatal(err)
	}
	s := newState(Config{Name: name, Hosts: 3}, "")
	for _, to := range []string{"198.18.0.12", "198.18.0.13", "198.18.1.12", "198.18.1.1"} {
		if err := reaches(t, s, "host1", to); err != nil {
			t.Errorf("host1 does not reach %s: %v", to, err)
		}
	}
	if err := reaches(t, s, "host1", "198.18.0.13", "-M", "do", "-s", strconv.Itoa(underlayMTU-28)); err != nil {
		t.Errorf("the underlay does not carry %d bytes: %v", underlayMTU, err)
	}
	for _, to := range []string{"203.0.113.11", "2001:db8:203::b", "10.0.0.4"} {
		if err := ping(t, s, "internet", to); err == nil {
			t.Errorf("the Internet reaches %s before any program guards it", to)
		}
	}
	if err := openUplinks(name, 3); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"203.0.113.11", "203.0.113.13", "2001:db8:203::b"} {
		if err := reaches(t, s, "internet", to); err != nil {
			t.Errorf("the Internet does not reach the uplink %s: %v", to, err)
		}
	}
	if err := ping(t, s, "internet", "198.18.1.1"); err == nil {
		t.Error("the Internet reaches the control plane")
	}
}

// What the Internet sends to a VM's address, or to the underlay, arrives at a host's uplink: so that a test of what stops it there means something.
func TestInternetTriesVMAddresses(t *testing.T) {
	name := labName(t)
	if err := lay(name, 1); err != nil {
		t.Fatal(err)
	}
	if err := openUplinks(name, 1); err != nil {
		t.Fatal(err)
	}
	s := newState(Config{Name: name, Hosts: 1}, "")
	conn, err := netdev.OpenPacket(s.Hosts[0].Netns, uplinkDevice)
	if err != nil {
		t.Fatal(err)
	}
	var seen sync.Map
	go func() {
		buf := make([]byte, 2000)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if n > 34 && buf[12] == 8 && buf[13] == 0 {
				seen.Store(netip.AddrFrom4([4]byte(buf[30:34])).String(), true)
			}
		}
	}()
	defer conn.Close()
	for _, to := range []string{"10.0.0.4", "192.168.7.9", "198.18.0.11", "168.63.129.16"} {
		arrived := false
		for range 10 { // the first packets may be lost: the link has just come up
			ping(t, s, "internet", to)
			if _, arrived = seen.Load(to); arrived {
				break
			}
		}
		if !arrived {
			t.Errorf("nothing for %s arrived at the uplink", to)
		}
	}
	if err := ping(t, s, "internet", "10.0.0.4"); err == nil {
		t.Error("an address that nobody has answered")
	}
}

func up(t *testing.T, name string, hosts int) *State {
	t.Helper()
	s, err := Up(context.Background(), Config{Name: name, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUpAndDown(t *testing.T) {
	name := labName(t)
	begin := time.Now()
	s := up(t, name, 2)
	t.Logf("up in %s", time.Since(begin).Round(time.Millisecond))
	loaded, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Tenants) != 2 || loaded.Tenants[0] != s.Tenants[0] || loaded.Tenants[0].Token == loaded.Tenants[1].Token {
		t.Errorf("tenants: %+v", loaded.Tenants)
	}
	if st, err := os.Stat(stateFile(name)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v", st.Mode(), err)
	}
	report, err := Status(context.Background(), name)
	if err != nil || report.Problem != "" || !slices.Equal(sorted(report.Connected), []string{"host1", "host2"}) {
		t.Errorf("status: %+v, %v", report, err)
	}
	if _, err := Up(context.Background(), Config{Name: name}); err == nil || !strings.Contains(err.Error(), "already up") {
		t.Errorf("up twice: %v", err)
	}
	if !loaded.Processes[1].Running() {
		t.Error("the second up disturbed the lab")
	}
	for range 2 {
		if err := Down(context.Background(), name); err != nil {
			t.Fatal(err)
		}
		gone(t, name)
	}
	if _, err := Load(name); err == nil || !strings.Contains(err.Error(), "not up") {
		t.Errorf("load after down: %v", err)
	}
	again := up(t, name, 1)
	if again.Tenants[0].ID != s.Tenants[0].ID || again.Tenants[0].Subscription != s.Tenants[0].Subscription {
		t.Error("a lab that is laid out anew has other subscriptions")
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// Two labs at once share nothing: each has the same addresses inside.
func TestTwoLabs(t *testing.T) {
	names := []string{labName(t), labName(t)}
	states := make([]*State, 2)
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { states[i] = up(t, name, 2) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if states[0].Endpoint == states[1].Endpoint || states[0].Tenants[0].ID == states[1].Tenants[0].ID {
		t.Error("two labs share an endpoint or a tenant")
	}
	if err := Down(context.Background(), names[0]); err != nil {
		t.Fatal(err)
	}
	gone(t, names[0])
	for _, p := range states[1].Processes {
		if !p.Running() {
			t.Errorf("%s of the other lab died too", p.Name)
		}
	}
	if err := reaches(t, states[1], "host1", "198.18.0.12"); err != nil {
		t.Errorf("the other lab is disturbed: %v", err)
	}
}

// A lab whose maker died without recording what it had started: Down finds the processes by what they are.
func TestDownWithoutState(t *testing.T) {
	name := labName(t)
	s := up(t, name, 2)
	orphan := exec.Command("sleep", "1000")
	if err := Start(s, "internet", orphan); err != nil { // somebody's command on a node
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	if err := os.Remove(stateFile(name)); err != nil {
		t.Fatal(err)
	}
	if err := Down(context.Background(), name); err != nil {
		t.Fatal(err)
	}
	gone(t, name)
	select {
	case <-ended:
	case <-time.After(time.Second):
		t.Error("a command on a node outlived the lab")
		orphan.Process.Kill()
	}
	for _, p := range s.Processes {
		if p.Running() {
			t.Errorf("%s outlived the lab", p.Name)
		}
	}
}

// Half a lab, as after a kill in the middle: Down removes it, and Up makes a whole one in its place.
func TestHalfMade(t *testing.T) {
	name := labName(t)
	if _, err := netns.Ensure(netnsName(name, "fabric")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(runDir(name), "host1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stateFile(name), []byte(`{"name":`), 0o600); err != nil {
		t.Fatal(err)
	}
	up(t, name, 1)
	if err := Down(context.Background(), name); err != nil {
		t.Fatal(err)
	}
	if err := netns.New(netnsName(name, "host7")); err != nil {
		t.Fatal(err)
	}
	if err := Down(context.Background(), name); err != nil {
		t.Fatal(err)
	}
	gone(t, name)
}

// A number in the record that belongs to somebody else by now is not touched.
func TestReusedPIDIsNotKilled(t *testing.T) {
	name := labName(t)
	victim := exec.Command("sleep", "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Wait()
	defer victim.Process.Kill()
	if err := os.MkdirAll(runDir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	start, err := startTime(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s := &State{Name: name, Processes: []Process{{Name: "server", PID: victim.Process.Pid, Start: start - 1}}}
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	if err := Down(context.Background(), name); err != nil {
		t.Fatal(err)
	}
	if err := victim.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the other process was killed: %v", err)
	}
	p := Process{PID: victim.Process.Pid, Start: start}
	if !p.Running() {
		t.Error("a living process is not recognised")
	}
	victim.Process.Kill()
	victim.Wait()
	if p.Running() {
		t.Error("a dead process is believed to live")
	}
}

// A program that does not start: the error has the end of its log, and nothing is left.
func TestFailedUp(t *testing.T) {
	name := labName(t)
	script := filepath.Join(t.TempDir(), "ringfence")
	text := "#!/bin/sh\nif [ $1 = agent ]; then echo the kernel lacks everything >&2; exit 3; fi\nsleep 100\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Up(context.Background(), Config{Name: name, Binary: script})
	if err == nil || !strings.Contains(err.Error(), "the kernel lacks everything") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	gone(t, name)
}

func TestCancelledUp(t *testing.T) {
	name := labName(t)
	script := filepath.Join(t.TempDir(), "ringfence")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho waiting\nexec sleep 100\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := Up(ctx, Config{Name: name, Binary: script})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	gone(t, name)
}

// The certificates are what the programs need and no more: the API's names the loopback, and a host's opens no server.
func TestCertificates(t *testing.T) {
	name := labName(t)
	s := up(t, name, 1)
	config, err := tlsConfig(s.CA, filepath.Join(s.RunDir, "server.pem"), filepath.Join(s.RunDir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	leaf := config.Certificates[0].Leaf
	for _, host := range []string{"127.0.0.1", "localhost", "198.18.1.1"} {
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	// The API's certificate is no client's, and without one nobody gets in.
	for what, certs := range map[string][]tls.Certificate{"the API's certificate": config.Certificates, "no certificate": nil} {
		client := &tls.Config{RootCAs: config.RootCAs, ServerName: pki.ServerName, Certificates: certs}
		err := netns.Do(serverNetns(name), func() error {
			c, err := tls.Dial("tcp", "198.18.1.1:7443", client)
			if err == nil {
				defer c.Close()
				_, err = c.Read(make([]byte, 1))
			}
			return err
		})
		if err == nil {
			t.Errorf("%s opens the management link", what)
		}
	}
}
