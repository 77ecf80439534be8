package oracle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// twin is a namespace in which nft judges what is written to one TUN device and tells on the other.
type twin struct {
	ns      string
	in, out int
}

func newTwin(t *testing.T) *twin {
	t.Helper()
	w := &twin{ns: fmt.Sprintf("rf-oracle-%d", os.Getpid())}
	if err := netns.New(w.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(w.ns); err != nil {
			t.Error(err)
		}
	})
	err := netns.Do(w.ns, func() (err error) {
		if w.in, err = tun("in0"); err != nil {
			return err
		}
		w.out, err = tun("out0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(w.in); unix.Close(w.out) })
	err = netdev.With(w.ns, func(c *netdev.Conn) error { return errors.Join(c.Up("in0"), c.Up("out0")) })
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func tun(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return 0, fmt.Errorf("make %s: %w", name, err)
	}
	return fd, nil
}

// load replaces the rules.
func (w *twin) load(rules string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table netdev twin\ndelete table netdev twin\n" + rules)
	return netns.Do(w.ns, func() error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %.600s", err, out)
		}
		return nil
	})
}

// ask sends one IP packet and returns the number that nft wrote into it; 0 when it did not come out.
func (w *twin) ask(packet []byte) (int, error) {
	if _, err := unix.Write(w.in, packet); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	buf := make([]byte, 4096)
	for wait := 0; ; {
		n, err := unix.Read(w.out, buf)
		switch {
		case err == nil && n == len(packet) && bytes.Equal(buf[n-8:n], packet[n-8:]):
			return number(buf), nil
		case err == nil: // the kernel's own: neighbour discovery, multicast listeners
		case !errors.Is(err, unix.EAGAIN):
			return 0, fmt.Errorf("read: %w", err)
		case wait > 20:
			return 0, nil
		default:
			p := []unix.PollFd{{Fd: int32(w.out), Events: unix.POLLIN}}
			if _, err := unix.Poll(p, 5); err != nil && !errors.Is(err, unix.EINTR) {
				return 0, fmt.Errorf("poll: %w", err)
			}
			wait++
		}
	}
}

func number(packet []byte) int {
	if packet[0]>>4 == 4 {
		return int(binary.BigEndian.Uint16(packet[4:]))
	}
	return int(binary.BigEndian.Uint32(packet)) & 0xfffff
}

// TestRulesAgainstNFT: for every packet nft and the model name the same rule as the first that matches.
func TestRulesAgainstNFT(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	policies, packets := 200, 500
	if os.Getenv("RINGFENCE_SOAK") != "" {
		policies, packets = 2000, 1000
	}
	w := newTwin(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	asked, decided := 0, map[string]int{}
	for n := 0; n < policies; {
		for _, h := range random.Hosts(r, 1+r.IntN(60)) {
			for i := range h.Ports {
				p := &h.Ports[i]
				for _, g := range h.Groups {
					if n >= policies || g.ID != p.NICGroup && g.ID != p.SubnetGroup {
						continue
					}
					n++
					asked += w.compare(t, r, h, p, &g, packets, decided)
				}
			}
		}
	}
	t.Logf("%d packets, %d policies: %v", asked, policies, decided)
	if asked < policies*packets/2 || decided["first ten"] == 0 || decided["later"] == 0 {
		t.Errorf("only %d packets could be asked, decided by %v: the comparison says little", asked, decided)
	}
}

// compare asks both about packets that a port could send, in both directions of one group.
func (w *twin) compare(t *testing.T, r *rand.Rand, h *goal.Host, p *goal.Port, g *goal.Group, packets int, decided map[string]int) (asked int) {
	t.Helper()
	sets := model.Sets{}
	for _, v := range h.VNets {
		if v.VNI == p.VNI {
			for _, s := range v.Sets {
				sets[s.Name] = s.Prefixes
			}
		}
	}
	for _, dir := range []model.Dir{model.Out, model.In} {
		rules := g.Out
		if dir == model.In {
			rules = g.In
		}
		text := ruleset(rules, sets)
		if err := w.load(text); err != nil {
			t.Fatal(err)
		}
		for range packets / 2 {
			packet, tuple, ok := question(r, h, p, dir)
			if !ok {
				continue
			}
			asked++
			want := model.Match(g, sets, dir, tuple) + 1
			got, err := w.ask(packet)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("%s %v: %v: nft says rule %d, the model says rule %d\n%s", g.ID, dir, tuple, got, want, g.Text())
			}
			if want > 10 {
				decided["later"]++
			} else {
				decided["first ten"]++
			}
		}
	}
	return asked
}

// question is a random packet that rules are asked about; inbound it is turned round, so that the port receives it.
func question(r *rand.Rand, h *goal.Host, p *goal.Port, dir model.Dir) (packet []byte, t model.Tuple, ok bool) {
	k := random.Packet(r, h, p.Index)
	if dir == model.In {
		k.Src, k.Dst = k.Dst, k.Src
	}
	k.Len = 0
	if k.VLAN || k.Malformed || k.Short || k.Options || k.BadFragment || k.Fragment.Behind > 0 || !k.Src.IsValid() || !k.Dst.IsValid() || k.Src.Is4() != k.Dst.Is4() {
		return nil, t, false
	}
	switch k.EtherType {
	case model.EtherIPv4, model.EtherIPv6:
	default:
		return nil, t, false
	}
	switch k.Protocol {
	case goal.TCP, goal.UDP, goal.ESP, goal.AH:
	case goal.ICMP:
		if !k.Src.Is4() {
			return nil, t, false
		}
	case goal.ICMPv6:
		if k.Src.Is4() {
			return nil, t, false
		}
	default:
		return nil, t, false
	}
	// the last eight bytes name the question
	frame := append(k.Frame(), binary.BigEndian.AppendUint64(nil, r.Uint64())...)
	packet = frame[14:]
	if k.Src.Is4() {
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	} else {
		binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-40))
	}
	return packet, k.Tuple(), true
}
