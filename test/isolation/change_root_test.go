package isolation

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/goal"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// Kinds of packets of the two-version test: destination ports behind a base. Each version of the NSG allows one of either and eitherOr; never is
// denied and always allowed by both, but by rules at other positions, so that a packet that is judged by half of one and half of the other goes wrong.
const (
	either uint16 = iota
	eitherOr
	never
	always
	kinds
)

// runs counts these tests' runs: each has ports and rules of its own, since flows and counters outlive it.
var runs uint16

func newPorts() (base uint16, name func(string) string) {
	runs++
	n := runs
	return 7100 + 10*n, func(s string) string { return fmt.Sprintf("%s-%d", s, n) }
}

func twoVersions(base uint16, name func(string) string) [2][]string {
	of := func(n string, priority int, access string, from, to uint16) string {
		return rule(name(n), priority, access, "Udp", fmt.Sprintf("%d-%d", base+from, base+to))
	}
	return [2][]string{
		{of("one-deny-never", 100, "Deny", never, never), of("one-allow-always", 110, "Allow", always, always), of("one-allow", 120, "Allow", either, either), of("one-deny", 130, "Deny", either, always)},
		{of("two-allow-always", 100, "Allow", always, always), of("two-allow", 110, "Allow", eitherOr, eitherOr), of("two-deny", 120, "Deny", either, either), of("two-deny-never", 130, "Deny", never, never)},
	}
}

// A group of rules is replaced whole: while an NSG is replaced a hundred times, no packet is judged by a mixture of two versions.
func TestReplacementIsAtomic(t *testing.T) {
	l := theLab(t)
	base, name := newPorts()
	versions := twoVersions(base, name)
	l.rules(t, versions[0]...)
	t.Cleanup(func() { l.rules(t) })
	from, receivers := l.vms["contoso/b1"], []*vm{l.vms["contoso/a1"], l.vms["contoso/a2"]}
	w := l.begin(t)
	out := openWire(t, from.netns, "eth0")
	first := marks + 1
	pairs, stop := 0, make(chan struct{})
	var sending sync.WaitGroup
	var sendErr error
	sending.Go(func() {
		for ; sendErr == nil && pairs < 50000; pairs++ {
			for _, to := range receivers {
				for k := range kinds {
					_, b := number()
					sendErr = errors.Join(sendErr, out.send(packet(gateway, from.port.MAC, from.ip, to.ip, goal.UDP, udp(uint16(10000+pairs), base+k, b))))
				}
			}
			select {
			case <-stop:
				pairs++
				return
			default:
			}
			if pairs%4 == 3 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	const replacements = 100
	begin := time.Now()
	for i := range replacements {
		l.rules(t, versions[(i+1)%2]...)
		w.read()
	}
	took := time.Since(begin)
	close(stop)
	sending.Wait()
	if sendErr != nil {
		t.Fatal(sendErr)
	}
	w.waitCounted(first, pairs*len(receivers)*int(kinds), receivers)
	for i, to := range receivers {
		w.checkVersions(to, name, first+uint32(i)*uint32(kinds), uint32(len(receivers))*uint32(kinds), pairs, replacements)
	}
	t.Logf("%d replacements in %s, %d pairs to each receiver", replacements, took.Round(time.Millisecond), pairs)
}

// waitCounted waits until every packet has arrived or was dropped.
func (w *trial) waitCounted(first uint32, sent int, receivers []*vm) {
	w.t.Helper()
	n := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		n = 0
		for _, to := range receivers {
			n += len(w.arrived(to, first))
			for k, d := range w.moved() {
				if k.host == to.host && k.port == to.port.Index && k.dir == "in" {
					n += int(d)
				}
			}
		}
		if n == sent {
			return
		}
		w.read()
	}
	w.t.Errorf("sent %d, arrived or dropped %d", sent, n)
}

// arrived are the marks that a machine received.
func (w *trial) arrived(to *vm, first uint32) map[uint32]bool {
	out := map[uint32]bool{}
	for _, s := range w.sights {
		if s.mark >= first && s.ns == to.netns && !s.out {
			out[s.mark] = true
		}
	}
	return out
}

// checkVersions: every packet met one version or the other, whole, and was dropped by a rule that one of them has for it.
// Its packets begin with first, a pair every step.
func (w *trial) checkVersions(to *vm, name func(string) string, first, step uint32, pairs, replacements int) {
	w.t.Helper()
	got := w.arrived(to, first)
	var passed [kinds]int
	straddling := 0
	for p := range pairs {
		var in [kinds]bool
		for k := range in {
			if in[k] = got[first+uint32(p)*step+uint32(k)]; in[k] {
				passed[k]++
			}
		}
		if in[either] == in[eitherOr] { // the change came between the two
			straddling++
		}
		if in[never] || !in[always] {
			w.t.Errorf("%s pair %d: judged by a mixture: %v", to.name, p, in)
		}
	}
	if straddling > replacements {
		w.t.Errorf("%s: %d pairs met neither version, with %d replacements", to.name, straddling, replacements)
	}
	if passed[either] == 0 || passed[eitherOr] == 0 {
		w.t.Errorf("%s: only one version was met: %v of %d", to.name, passed, pairs)
	}
	dropped := map[string]int{}
	for k, n := range w.moved() {
		if k.host == to.host && k.port == to.port.Index && k.dir == "in" {
			if k.reason != observe.ACLRule.String() {
				w.t.Errorf("%s: %d packets dropped as %s", to.name, n, k.reason)
			}
			dropped[k.rule] += int(n)
		}
	}
	by := func(rule string) int { return dropped["securityRules/"+name(rule)] }
	if by("two-deny") != pairs-passed[either] || by("one-deny") != pairs-passed[eitherOr] || by("one-deny-never")+by("two-deny-never") != pairs || len(dropped) > 4 {
		w.t.Errorf("%s: %d pairs, passed %v, dropped %v", to.name, pairs, passed, dropped)
	}
}

// A success answer means enforced: the very next packet after the answer meets the new rule, on one host and over both.
func TestNextPacketMeetsTheNewRule(t *testing.T) {
	l := theLab(t)
	t.Cleanup(func() { l.rules(t) })
	from, receivers := l.vms["contoso/b1"], []*vm{l.vms["contoso/a1"], l.vms["contoso/a2"]}
	l.rules(t)
	w := l.begin(t)
	out := openWire(t, from.netns, "eth0")
	base, name := newPorts()
	first := marks + 1
	const rounds = 200
	allowed := map[uint32]bool{}
	begin := time.Now()
	for i := range rounds {
		access := [2]string{"Deny", "Allow"}[i%2]
		l.rules(t, rule(name("switch"), 100, access, "Udp", fmt.Sprint(base)), rule("filler", 200, "Deny", "Udp", fmt.Sprint(30000+i)))
		for _, to := range receivers {
			n, b := number()
			allowed[n] = i%2 == 1
			if err := out.send(packet(gateway, from.port.MAC, from.ip, to.ip, goal.UDP, udp(uint16(20000+i), base, b))); err != nil {
				t.Fatal(err)
			}
		}
	}
	took := time.Since(begin)
	w.read()
	w.waitCounted(first, rounds*len(receivers), receivers)
	for _, to := range receivers {
		got := w.arrived(to, first)
		wrong := 0
		for n, want := range allowed {
			if receivers[(n-first)%2] == to && got[n] != want {
				wrong++
				t.Errorf("%s round %d: arrived %v, want %v", to.name, (n-first)/2, got[n], want)
			}
		}
		if n := w.moved()[counter{to.host, to.port.Index, "in", observe.ACLRule.String(), "securityRules/" + name("switch")}]; n != rounds/2 {
			t.Errorf("%s: the rule dropped %d, want %d", to.name, n, rounds/2)
		}
	}
	t.Logf("%d rounds in %s", rounds, took.Round(time.Millisecond))
}

// An established connection lives: while the agents of both hosts are killed and return, and when a rule comes that denies it, as on Azure; a new
// one meets the rule. Not one segment is lost on the way.
func TestEstablishedConnectionsLive(t *testing.T) {
	l := theLab(t)
	l.rules(t)
	t.Cleanup(func() { l.rules(t) })
	from := l.vms["contoso/b1"]
	base, _ := newPorts()
	var lines []*line
	for _, name := range []string{"contoso/a1", "contoso/a2"} {
		for _, v6 := range []bool{false, true} {
			lines = append(lines, openLine(t, from, l.vms[name], v6, base))
		}
	}
	stop, done := make(chan struct{}), make(chan error, len(lines))
	for _, c := range lines {
		go func() { done <- c.chat(stop) }()
	}
	for _, host := range []string{"host1", "host2"} {
		config := l.killAgent(t, host)
		time.Sleep(100 * time.Millisecond)
		l.startAgent(t, host, config)
	}
	l.rules(t, rule("deny", 100, "Deny", "Tcp", fmt.Sprint(base)))
	time.Sleep(100 * time.Millisecond)
	config := l.killAgent(t, "host1") // and again, with the rule in force
	l.startAgent(t, "host1", config)
	for _, c := range lines {
		if again, err := dial(from, c.to, 300*time.Millisecond); err == nil {
			again.Close()
			t.Errorf("a new connection to %s was made against the rule", c.to)
		}
	}
	close(stop)
	for range lines {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, c := range lines {
		t.Logf("%s: %d messages, %d segments sent again", c.to, c.messages, c.again(t))
		if n := c.again(t); n > 0 {
			t.Errorf("%s: %d segments were lost", c.to, n)
		}
	}
}

// line is a connection between two machines that is kept busy.
type line struct {
	to       string
	client   *net.TCPConn
	messages int
}

func openLine(t *testing.T, from, to *vm, v6 bool, port uint16) *line {
	t.Helper()
	address := fmt.Sprintf("%s:%d", to.ip, port)
	if v6 {
		address = fmt.Sprintf("[%s]:%d", to.v6, port)
	}
	var l net.Listener
	if err := netns.Do(to.netns, func() (err error) { l, err = net.Listen("tcp", address); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go io.Copy(c, c)
		}
	}()
	c, err := dial(from, address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &line{to: address, client: c.(*net.TCPConn)}
}

func dial(from *vm, address string, patience time.Duration) (c net.Conn, err error) {
	err = netns.Do(from.netns, func() (err error) { c, err = net.DialTimeout("tcp", address, patience); return err })
	return c, err
}

// chat sends and waits for the echo, again and again.
func (c *line) chat(stop chan struct{}) error {
	buf := make([]byte, 64)
	for ; ; c.messages++ {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Millisecond):
		}
		c.client.SetDeadline(time.Now().Add(3 * time.Second))
		if _, err := c.client.Write(buf); err != nil {
			return fmt.Errorf("%s after %d messages: %w", c.to, c.messages, err)
		}
		if _, err := io.ReadFull(c.client, buf); err != nil {
			return fmt.Errorf("%s after %d messages: %w", c.to, c.messages, err)
		}
	}
}

// again is how many segments the kernel had to send twice.
func (c *line) again(t *testing.T) int {
	t.Helper()
	raw, err := c.client.SyscallConn()
	n := 0
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			info, err2 := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err = err2; err == nil {
				n = int(info.Total_retrans)
			}
		}), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
