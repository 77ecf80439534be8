package isolation

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// sight is one frame that somebody saw: every device of every namespace of the lab is listened to, promiscuously.
type sight struct {
	ns, dev string
	out     bool // leaving over the device
	vlan    bool // a tag that the kernel holds beside the frame
	at      int64
	frame   []byte
	mark    uint32 // number of the probe it is, or that it quotes; 0: none
}

func (s sight) where() string { return s.ns + " " + s.dev }

// capture listens in one namespace.
type capture struct {
	fd      int
	ns      string
	devices map[int]string
	buf     []byte
}

// magic makes this run's frames recognisable, wherever they turn up and however they are wrapped.
var magic = func() [8]byte {
	var b [8]byte
	rand.Read(b[:])
	return b
}()

const markLen = 12

// mark is the payload of probe n.
func mark(n uint32) []byte { return binary.BigEndian.AppendUint32(magic[:], n) }

func marked(frame []byte) uint32 {
	if i := bytes.Index(frame, magic[:]); i >= 0 && i+markLen <= len(frame) {
		return binary.BigEndian.Uint32(frame[i+8:])
	}
	return 0
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }

// listen opens a capture of a namespace.
func listen(ns string) (*capture, error) {
	c := &capture{ns: ns, devices: map[int]string{}, buf: make([]byte, 1<<16)}
	err := netns.Do(ns, func() (err error) {
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(swap16(unix.ETH_P_ALL))); err != nil {
			return err
		}
		err = errors.Join(unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20), unix.SetsockoptInt(c.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
		all, err2 := net.Interfaces()
		for _, i := range all {
			c.devices[i.Index] = i.Name
			err = errors.Join(err, unix.SetsockoptPacketMreq(c.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}))
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", ns, err)
	}
	return c, nil
}

// read takes what was captured since the last time and keeps what is of interest: the test's frames, and everything at places where it is judged.
func (c *capture) read(t *testing.T, keep func(*sight) bool) (out []sight) {
	t.Helper()
	oob := make([]byte, 256)
	for {
		n, oobn, _, from, err := unix.Recvmsg(c.fd, c.buf, oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("capture in %s: %v", c.ns, err)
		}
		ll := from.(*unix.SockaddrLinklayer)
		s := sight{ns: c.ns, dev: c.devices[ll.Ifindex], out: ll.Pkttype == unix.PACKET_OUTGOING, frame: c.buf[:n], mark: marked(c.buf[:n])}
		if s.dev == "lo" {
			continue
		}
		s.ancillary(oob[:oobn])
		if s.mark != 0 || keep(&s) {
			s.frame = bytes.Clone(s.frame)
			out = append(out, s)
		}
	}
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || stats.Drops > 0 {
		t.Fatalf("capture in %s missed %+v: %v", c.ns, stats, err)
	}
	return out
}

// ancillary reads the time and the tag beside the frame.
func (s *sight) ancillary(oob []byte) {
	msgs, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 4:
			s.vlan = binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16:
			ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			s.at = ts.Nano()
		}
	}
}

func (c *capture) close() { unix.Close(c.fd) }

// wire sends raw frames on a device of a namespace.
type wire struct {
	fd, index int
}

func openWire(t *testing.T, ns, dev string) *wire {
	t.Helper()
	w := &wire{fd: -1}
	err := netns.Do(ns, func() error {
		i, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		w.index = i.Index
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatalf("open %s in %s: %v", dev, ns, err)
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w *wire) send(frame []byte) error {
	for {
		err := unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.index})
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
}

// namespaces lists every namespace of the lab.
func (l *lab) namespaces(t *testing.T) []string {
	t.Helper()
	all, err := netns.List("rf-" + l.name + "-")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < len(machines)+7 { // two hosts, their services, Internet, fabric, server
		t.Fatalf("only the namespaces %s", strings.Join(all, " "))
	}
	return all
}
