package services_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
	"ringfence/host/services"
)

// What the data plane must do for a plain socket to serve a VM: a frame to the inside's MAC from the port's alias arrives, the answer
// leaves to the alias with the inside's MAC on both sides. Frames from other addresses or to other MACs get no answer.
func TestAliasesReachPlainSockets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	instance, ns := fmt.Sprintf("rftestalias%d", os.Getpid()), "rftest-alias-host-"+fmt.Sprint(os.Getpid())
	must(netns.New(ns))
	defer netns.Delete(ns)
	defer netns.Delete(services.Namespace(instance, "h"))
	must(netns.Do(ns, func() error { _, err := services.Ensure(instance, "h"); return err }))
	var inside netdev.Link
	ready := func(ns, name string) (l netdev.Link) {
		deadline := time.Now().Add(10 * time.Second)
		for !l.Ready { // frames that are sent before the kernel has noticed the carrier are lost
			if time.Now().After(deadline) {
				t.Fatalf("%s has no carrier", name)
			}
			must(netdev.With(ns, func(c *netdev.Conn) (err error) {
				l, _, err = c.Link(name)
				return err
			}))
			time.Sleep(5 * time.Millisecond)
		}
		return l
	}
	inside = ready(services.Namespace(instance, "h"), services.Inside)
	ready(ns, services.Device)
	device, err := netdev.OpenPacket(ns, services.Device)
	must(err)
	defer device.Close()
	frames := make(chan []byte, 16)
	go func() {
		for {
			b := make([]byte, 2048)
			n, err := device.Read(b)
			if err != nil {
				close(frames)
				return
			}
			frames <- b[:n]
		}
	}()
	for _, address := range services.Addresses {
		echo(t, services.Namespace(instance, "h"), address)
		for name, c := range map[string]struct {
			src  netip.Addr
			mac  net.HardwareAddr
			want bool
		}{
			"an alias":        {goal.Alias(5), inside.MAC, true},
			"the last alias":  {goal.Alias(goal.MaxPort), inside.MAC, true},
			"a VM's own":      {netip.MustParseAddr("10.0.0.4"), inside.MAC, false},
			"another MAC":     {goal.Alias(5), net.HardwareAddr{0x02, 0x5f, 0, 0, 0, 5}, false},
			"everybody's MAC": {netip.MustParseAddr("10.0.0.5"), net.HardwareAddr{255, 255, 255, 255, 255, 255}, false},
		} {
			_, err := device.Write(datagram(c.mac, c.src, address))
			must(err)
			got, err := await(frames, address, c.want)
			switch {
			case err != nil:
				t.Errorf("%s, %s: %v", address, name, err)
			case !c.want && got != nil:
				t.Errorf("%s, %s: answered with % x", address, name, got)
			case c.want && (!bytes.Equal(got[:6], inside.MAC) || !bytes.Equal(got[6:12], inside.MAC) || netip.AddrFrom4([4]byte(got[30:34])) != c.src ||
				binary.BigEndian.Uint16(got[34:]) != 4711 || binary.BigEndian.Uint16(got[36:]) != 40000):
				t.Errorf("%s, %s: the answer is % x", address, name, got)
			}
		}
	}
}

// echo is a plain socket that sends back what it gets.
func echo(t *testing.T, ns string, at netip.Addr) {
	t.Helper()
	var conn *net.UDPConn
	err := netns.Do(ns, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 4711)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			conn.WriteToUDPAddrPort(b[:n], from)
		}
	}()
}

// await returns the next IPv4 frame from address; wanted says how long it is worth waiting.
func await(frames <-chan []byte, address netip.Addr, wanted bool) ([]byte, error) {
	patience := 100 * time.Millisecond
	if wanted {
		patience = 5 * time.Second
	}
	end := time.After(patience)
	for {
		select {
		case f, ok := <-frames:
			if !ok {
				return nil, errors.New("the device is gone")
			}
			if len(f) >= 42 && f[12] == 8 && f[13] == 0 && netip.AddrFrom4([4]byte(f[26:30])) == address {
				return f, nil
			}
		case <-end:
			if wanted {
				return nil, errors.New("no answer")
			}
			return nil, nil
		}
	}
}

// datagram is a UDP frame from port 40000 to 4711; its checksum is left out, as UDP over IPv4 may.
func datagram(dst net.HardwareAddr, from, to netip.Addr) []byte {
	b := append(append([]byte{}, dst...), 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 8, 0)
	ip := []byte{0: 0x45, 3: 32, 8: 64, 9: 17, 19: 0}
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum&0xffff))
	udp := []byte{0: 40000 >> 8, 1: 40000 & 255, 2: 4711 >> 8, 3: 4711 & 255, 5: 12, 11: 'x'}
	return append(append(b, ip...), udp...)
}
