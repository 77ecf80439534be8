package isolation

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringfence/goal"
)

// tail is a command that prints lines of JSON until it is interrupted.
type tail struct {
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines []map[string]any
	aside []string
	ended chan struct{}
}

func (l *lab) tail(t *testing.T, args ...string) *tail {
	t.Helper()
	f := &tail{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	f.cmd.Env = append(os.Environ(), "RINGFENCE_LAB="+l.name)
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	told, err := f.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var read sync.WaitGroup
	read.Go(func() { f.read(out) })
	read.Go(func() {
		for s := bufio.NewScanner(told); s.Scan(); {
			f.mu.Lock()
			f.aside = append(f.aside, s.Text())
			f.mu.Unlock()
		}
	})
	go func() { read.Wait(); close(f.ended) }()
	t.Cleanup(func() { f.cmd.Process.Kill(); <-f.ended; f.cmd.Wait() })
	return f
}

func (f *tail) read(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		var v map[string]any
		if json.Unmarshal(s.Bytes(), &v) != nil {
			v = map[string]any{"broken": s.Text()}
		}
		f.mu.Lock()
		f.lines = append(f.lines, v)
		f.mu.Unlock()
	}
}

// count counts the events of a reason and those that it was said were not shown.
func (f *tail) count(reason string) (shown, untold int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.lines {
		if v["reason"] == reason {
			shown++
		}
	}
	for _, line := range f.aside {
		var host, what string
		var n int
		if _, err := fmt.Sscanf(line, "ringfence: host %s %d more packets dropped as %s", &host, &n, &what); err == nil && what == reason+"," {
			untold += n
		}
	}
	return shown, untold
}

func (f *tail) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.mu.Lock()
			defer f.mu.Unlock()
			t.Fatalf("%s does not come: %d lines, aside %q", what, len(f.lines), f.aside)
		}
	}
}

// interrupt ends it as ^C does.
func (f *tail) interrupt(t *testing.T) {
	t.Helper()
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-f.ended
	if err := f.cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v, aside %q", err, f.aside)
	}
}

// Who follows drops is told each with its rule and the revision that brought the rule as it is; what comes faster than it is told is
// counted and said, to the packet; the agent may die and come back meanwhile.
func TestFollowDrops(t *testing.T) {
	l := theLab(t)
	a1, b1 := l.vms["contoso/a1"], l.vms["contoso/b1"]
	l.rules(t, rule("deny-7003", 103, "Deny", "Udp", "7003"))
	t.Cleanup(func() { l.rules(t) })
	var ready struct{ Revision uint64 }
	if err := l.ask("ready", &ready); err != nil {
		t.Fatal(err)
	}
	l.rules(t, rule("deny-7003", 103, "Deny", "Udp", "7003"), rule("allow-7004", 104, "Allow", "Udp", "7004")) // the rule stays as it was
	f := l.tail(t, "drops", "--follow", "--vm", a1.port.VM, "-o", "json")
	out := openWire(t, b1.netns, "eth0")
	send := func(n int) {
		t.Helper()
		for range n {
			_, mark := number()
			if err := out.send(packet(gateway, b1.port.MAC, b1.ip, a1.ip, goal.UDP, udp(9999, 7003, mark))); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.until(t, "the first event", func() bool { // it follows from when the host was asked first
		send(1)
		time.Sleep(50 * time.Millisecond)
		n, _ := f.count("acl_rule")
		return n > 0
	})
	time.Sleep(1100 * time.Millisecond) // a new second for the limit, and nothing is on its way
	shown, untold := f.count("acl_rule")
	before := shown + untold
	const packets = 5000
	send(packets)
	f.until(t, "every packet", func() bool { a, b := f.count("acl_rule"); return a+b >= before+packets })
	time.Sleep(2500 * time.Millisecond)
	shown, untold = f.count("acl_rule")
	if shown+untold != before+packets || untold == 0 {
		t.Errorf("of %d packets %d were shown and %d said not to be, %d before", packets, shown, untold, before)
	}
	for _, v := range f.lines {
		if v["reason"] == "acl_rule" && (v["rule"] != "securityRules/deny-7003" || v["revision"] != float64(ready.Revision) || v["layer"] != "acl" || v["vm"] != a1.port.VM ||
			v["host"] != a1.host || v["direction"] != "in" || v["destinationPort"] != float64(7003) || v["source"] != b1.ip.String()) {
			t.Fatalf("%+v, want revision %d", v, ready.Revision)
		}
	}
	config := l.killAgent(t, a1.host)
	f.until(t, "the host's absence", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.aside) > 0 && len(f.lines) > 0 })
	l.startAgent(t, a1.host, config)
	time.Sleep(1100 * time.Millisecond)
	shown, _ = f.count("acl_rule")
	f.until(t, "an event after the agent's return", func() bool {
		send(1)
		time.Sleep(20 * time.Millisecond)
		n, _ := f.count("acl_rule")
		return n > shown
	})
	f.interrupt(t)
}
