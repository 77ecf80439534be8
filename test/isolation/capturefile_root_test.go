package isolation

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence/goal"
)

// A capture of a machine is a file that tcpdump reads, with every packet of both directions, the dropped ones too, and for each a comment of what
// became of it, with rule and revision.
func TestCaptureFile(t *testing.T) {
	l := theLab(t)
	a2, b1 := l.vms["contoso/a2"], l.vms["contoso/b1"]
	l.rules(t, rule("deny-7008", 108, "Deny", "Udp", "7008"))
	t.Cleanup(func() { l.rules(t) })
	file := filepath.Join(t.TempDir(), "a2.pcapng")
	f := l.tail(t, "capture", a2.port.VM, "-w", file, "--protocol", "udp", "--address", b1.ip.String())
	f.until(t, "the beginning", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.aside) > 0 })
	out, back := openWire(t, b1.netns, "eth0"), openWire(t, a2.netns, "eth0")
	const each = 20
	for i := range each {
		_, mark := number()
		for _, s := range []struct {
			w     *wire
			frame []byte
		}{
			{out, packet(gateway, b1.port.MAC, b1.ip, a2.ip, goal.UDP, udp(9999, 7008, mark))},
			{out, packet(gateway, b1.port.MAC, b1.ip, a2.ip, goal.UDP, udp(uint16(9000+i), 7009, mark))},
			{back, packet(gateway, a2.port.MAC, a2.ip, b1.ip, goal.UDP, udp(7009, uint16(9000+i), mark))},
		} {
			if err := s.w.send(s.frame); err != nil {
				t.Fatal(err)
			}
		}
	}
	var b []byte
	comment := func(text string) int { return bytes.Count(b, []byte(text)) }
	denied := "in drop acl_rule securityRules/deny-7008 of "
	f.until(t, "every packet", func() bool {
		b, _ = os.ReadFile(file)
		return comment(denied) == each && comment("in deliver") == each && comment("out encap") == each
	})
	f.interrupt(t)
	b, _ = os.ReadFile(file)
	if comment(denied) != each || comment("in deliver") != each || comment("out encap") != each || comment("since revision ") != each {
		t.Errorf("%d denied, %d delivered, %d sent, %d revisions, each should be %d", comment(denied), comment("in deliver"), comment("out encap"), comment("since revision "), each)
	}
	read, err := exec.Command("tcpdump", "-n", "-r", file).CombinedOutput()
	if err != nil || strings.Count(string(read), b1.ip.String()) < 3*each {
		t.Errorf("tcpdump: %v\n%s", err, read)
	}
	if last := b[len(b)-4:]; binary.LittleEndian.Uint32(last) == 0 {
		t.Error("the file ends within a block")
	}
	// With a count it ends by itself, as lines.
	g := l.tail(t, "capture", a2.port.VM, "--count", "2", "-o", "json", "--protocol", "udp")
	g.until(t, "the beginning", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.aside) > 0 })
	for range 3 {
		_, mark := number()
		if err := out.send(packet(gateway, b1.port.MAC, b1.ip, a2.ip, goal.UDP, udp(9999, 7008, mark))); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-g.ended:
	case <-time.After(15 * time.Second):
		t.Fatal("it does not end")
	}
	if err := g.cmd.Wait(); err != nil || len(g.lines) != 2 || !strings.Contains(g.lines[0]["verdict"].(string), denied) {
		t.Errorf("%v, %v", err, g.lines)
	}
}
