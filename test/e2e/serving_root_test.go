package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Names and metadata are served whether the agent lives or not; who ends what serves them, or takes its namespace away, sees it
// replaced; and names are those of the newest answer that said success.
func TestServicesStayAndFollow(t *testing.T) {
	l := newLab(t, 2)
	l.vnet("contoso")
	l.vm("contoso", "a1", "a", "host1")
	l.vm("contoso", "blue", "a", "host2")
	in := func(command string) string {
		out, _, err := l.try("vm", "exec", "-g", "g", "--as", "contoso", "a1", "--", "bash", "-c", command)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(out)
	}
	address := func() string { // asked once, without the library's patience
		out, _, _ := strings.Cut(in("RES_OPTIONS='timeout:1 attempts:1' getent ahostsv4 blue"), " ")
		return out
	}
	served := func(what, ip string) {
		t.Helper()
		began := time.Now()
		for address() != ip || !strings.HasSuffix(in("timeout 2 bash -c \""+metadata("compute/name")+"\""), "a1") {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%s: blue is %q, metadata are %q", what, address(), in(metadata("compute/name")))
			}
		}
		t.Logf("%s: served after %v at most", what, time.Since(began))
	}
	served("at first", "10.0.1.5")

	if got := in(asked("168.63.129.16", "GET /machine/?comp=goalstate HTTP/1.0\\r\\n\\r\\n")); !strings.Contains(got, "._a1</InstanceId>") {
		t.Errorf("the goal state is %q", got)
	}

	agent := l.end("host1")
	if got := address(); got != "10.0.1.5" {
		t.Errorf("without an agent blue is %q", got)
	}
	if got := in(metadata("compute/name")); !strings.HasSuffix(got, "a1") {
		t.Errorf("without an agent metadata are %q", got)
	}
	before := l.serving("host1")
	l.start("host1", agent)
	served("with a new agent", "10.0.1.5")
	if now := l.serving("host1"); now != before {
		t.Errorf("the process %d that serves was replaced by %d with the agent", before, now)
	}
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	served("after the end of what serves", "10.0.1.5")
	before = l.serving("host1")
	pins := "/sys/fs/bpf/ringfence/" + l.name + "/host1"
	if err := os.RemoveAll(pins); err != nil {
		t.Fatal(err)
	}
	if got := address(); got != "10.0.1.5" {
		t.Errorf("when the pins are removed blue is %q", got)
	}
	if out, err := exec.Command("ip", "netns", "delete", "rf-"+l.name+"-host1-svc").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for began := time.Now(); l.serving("host1") == before; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatal("its namespace was taken away, and it serves on where nobody can reach it")
		}
	}
	served("after the end of its namespace", "10.0.1.5")
	if left, _ := filepath.Glob(pins + "/links/*"); len(left) != 2+2+3+1 { // tunnel, services, a1, uplink
		t.Errorf("pinned links: %v", left)
	}
	if out := l.must("host", "list", "-o", "json"); !strings.Contains(out, "were removed by somebody else and put back") {
		t.Errorf("nobody is told that the pins were removed: %s", out)
	}

	// The answer to the write means that names are as written, also on the other host.
	nic := network + "networkInterfaces/blue-nic"
	subnet := l.path("contoso", network+"virtualNetworks/v/subnets/a")
	for i := range 3 {
		ip := fmt.Sprintf("10.0.1.%d", 60+i)
		l.put("contoso", nic, `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"ipconfig1","properties":{"subnet":{"id":"`+subnet+
			`"},"privateIPAllocationMethod":"Static","privateIPAddress":"`+ip+`"}}]}}`)
		if got := address(); got != ip {
			t.Errorf("blue moved to %s, and is %q right after the answer", ip, got)
		}
		if got, _, _ := strings.Cut(in("getent hosts "+ip), " "); got != ip {
			t.Errorf("%s has no name right after the answer: %q", ip, got)
		}
	}
	l.must("vm", "delete", "-g", "g", "-n", "blue", "--as", "contoso")
	if got := address(); strings.HasPrefix(got, "10.") {
		t.Errorf("blue is deleted and %s", got)
	}
	l.vm("contoso", "blue", "b", "host1")
	if got := address(); got != "10.0.2.4" {
		t.Errorf("blue was made again at 10.0.2.4, and is %q right after the answer", got)
	}
}

// serving is the process that serves a host's machines.
func (l *lab) serving(host string) int {
	l.t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		args, _ := os.ReadFile(f)
		if strings.Contains(string(args), "\x00services\x00") && strings.Contains(string(args), "rf-"+l.name+"-"+host+"-svc\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				l.t.Fatal(err)
			}
			return pid
		}
	}
	return 0 // between two
}
