package isolation

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// limits are this lab's: low enough for new flows that a test can flood beyond it, and beyond what any other test here opens.
const limits = "limits: {flows: {rate: 10000, burst: 10000}}\n"

// writeLimits makes the file for lab up --config.
func writeLimits() (file string, err error) {
	dir, err := os.MkdirTemp("", "ringfence-isolation-")
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "lab.yaml")
	return file, os.WriteFile(file, []byte(limits), 0o600)
}

// A machine that floods what its host answers or judges for it is cut down to its limits, each excess dropped under its own reason and
// counted exactly; meanwhile the services of another machine on that host miss nothing.
func TestFloodsAreCutDown(t *testing.T) {
	l := theLab(t)
	c1, b1 := l.vms["fabrikam/c1"], l.vms["contoso/b1"]
	mac, all := c1.port.MAC, goal.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	gone := c1.ip.Next()
	for _, f := range []struct {
		reason observe.Reason
		rate   goal.Rate
		frame  func(i int) []byte
	}{
		{observe.LimitARP, goal.DefaultLimits.ARP, func(int) []byte { return arp(all, mac, 1, mac, c1.ip, goal.MAC{}, gone, nil) }},
		{observe.LimitND, goal.DefaultLimits.ND, func(int) []byte {
			ask := icmp(135, 0, join(make([]byte, 4), other(c1.v6).AsSlice()))
			return ether(all, mac, 0x86dd, ip6(c1.v6, addr("ff02::1"), goal.ICMPv6, 255, ask))
		}},
		{observe.LimitDHCP, goal.DefaultLimits.DHCP, func(int) []byte {
			return packet(all, mac, netip.IPv4Unspecified(), addr("255.255.255.255"), goal.UDP, udp(68, 67, make([]byte, 240)))
		}},
		{observe.LimitDNS, goal.DefaultLimits.DNS, func(i int) []byte {
			return packet(gateway, mac, c1.ip, addr("168.63.129.16"), goal.UDP, udp(uint16(20000+i), 53, make([]byte, 12)))
		}},
		{observe.LimitService, goal.DefaultLimits.Service, func(i int) []byte {
			return packet(gateway, mac, c1.ip, addr("169.254.169.254"), goal.TCP, tcp(uint16(20000+i), 80, 2, nil))
		}},
		{observe.LimitFlows, goal.Rate{PerSecond: 10000, Burst: 10000}, func(i int) []byte {
			return packet(gateway, mac, c1.ip, gone, goal.TCP, tcp(uint16(20000+i), 80, 2, nil))
		}},
	} {
		t.Run(f.reason.String(), func(t *testing.T) { l.flood(t, c1, b1, f.reason, f.rate, f.frame) })
	}
}

func (l *lab) flood(t *testing.T, from, bystander *vm, reason observe.Reason, rate goal.Rate, frame func(int) []byte) {
	const packets = 30_000
	w := &trial{t: t, l: l}
	w.base = w.counters()
	key := fmt.Sprint(from.host, from.port.Index)
	before := l.traffic(t)[key]
	stop, asked := make(chan struct{}), make(chan error, 1)
	go func() { asked <- bystander.asks(stop) }()
	out := openWire(t, from.netns, "eth0")
	begin := time.Now()
	for i := range packets {
		if err := out.send(frame(i)); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(begin)
	close(stop)
	if err := <-asked; err != nil {
		t.Errorf("the bystander: %v", err)
	}
	time.Sleep(50 * time.Millisecond) // nothing is on its way: what is sent on a device has been judged when the call returns, but for softirqs
	now := l.traffic(t)[key]
	sent := now.Sent - before.Sent
	passed := now.Local - before.Local + now.Encapsulated - before.Encapsulated + now.Service - before.Service + now.Answered - before.Answered
	var dropped, limited uint64
	for k, n := range w.moved() {
		if k.host != from.host || k.port != from.port.Index || k.dir != "out" {
			continue
		}
		dropped += n
		if k.reason == reason.String() {
			limited += n
		}
	}
	if sent < packets || sent != passed+dropped {
		t.Errorf("sent %d (counted %d) is not passed %d + dropped %d", packets, sent, passed, dropped)
	}
	most := uint64(rate.Burst) + uint64(float64(rate.PerSecond)*(took.Seconds()+0.2)) + 50 // and what the machine itself has to say
	if through := sent - limited; limited == 0 || through > most {
		t.Errorf("%d of %d got by the limit in %v, at most %d expected", through, sent, took, most)
	}
	t.Logf("%d in %v: %d limited", sent, took.Round(time.Millisecond), limited)
}

// asks resolves names at the platform's address until it is stopped, and says what went unanswered.
func (m *vm) asks(stop chan struct{}) error {
	return netns.Do(m.netns, func() error {
		c, err := net.Dial("udp", "168.63.129.16:53")
		if err != nil {
			return err
		}
		defer c.Close()
		query := join(be16(0x5246, 0x0100, 1, 0, 0, 0), []byte("\x02b1\x00"), be16(1, 1))
		answer := make([]byte, 512)
		for n := 0; ; n++ {
			select {
			case <-stop:
				if n < 3 {
					return fmt.Errorf("only %d answers", n)
				}
				return nil
			default:
			}
			c.SetDeadline(time.Now().Add(2 * time.Second))
			if _, err := c.Write(query); err != nil {
				return err
			}
			if _, err := c.Read(answer); err != nil {
				return fmt.Errorf("after %d answers: %w", n, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}
