package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// solicitRouter asks for a router inside the sandbox and returns its address and the MTU it tells (0: none).
func solicitRouter(ctx context.Context, ns, device string) (router netip.Addr, mtu int, err error) {
	if _, err := linkLocal(ctx, ns, device); err != nil {
		return netip.Addr{}, 0, err
	}
	var sock *os.File
	err = netns.Do(ns, func() (err error) {
		sock, err = icmp6Socket(device)
		return err
	})
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("router solicitation: %w", err)
	}
	defer sock.Close()
	wait := patience
	for range tries {
		if err := send6(sock, allRouters, []byte{133, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			return netip.Addr{}, 0, fmt.Errorf("router solicitation: %w", err)
		}
		router, mtu, err = awaitRouter(ctx, sock, time.Now().Add(wait))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return router, mtu, err
		}
		wait *= 2
	}
	return netip.Addr{}, 0, errors.New("no router advertisement")
}

var allRouters = [16]byte{0xff, 0x02, 15: 2}

// icmp6Socket is a raw ICMPv6 socket on the device; the kernel computes checksums.
func icmp6Socket(device string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "icmp6")
	for _, set := range []func() error{
		func() error { return unix.BindToDevice(fd, device) },
		func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255) },
	} {
		if err := set(); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func send6(f *os.File, to [16]byte, message []byte) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Write(func(fd uintptr) bool {
		serr = unix.Sendto(int(fd), message, 0, &unix.SockaddrInet6{Addr: to})
		return serr != unix.EAGAIN
	}); err != nil {
		return err
	}
	return serr
}

// awaitRouter reads until a router advertisement comes, or the deadline.
func awaitRouter(ctx context.Context, f *os.File, deadline time.Time) (netip.Addr, int, error) {
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := f.SetReadDeadline(deadline); err != nil {
		return netip.Addr{}, 0, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return netip.Addr{}, 0, err
	}
	buf := make([]byte, 1500)
	for {
		if err := ctx.Err(); err != nil {
			return netip.Addr{}, 0, err
		}
		var n int
		var from unix.Sockaddr
		var rerr error
		if err := raw.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), buf, 0)
			return rerr != unix.EAGAIN
		}); err != nil {
			return netip.Addr{}, 0, err
		}
		if rerr != nil {
			return netip.Addr{}, 0, rerr
		}
		if sa, ok := from.(*unix.SockaddrInet6); ok {
			if mtu, ok := readAdvertisement(buf[:n]); ok {
				return netip.AddrFrom16(sa.Addr), mtu, nil
			}
		}
	}
}

// readAdvertisement says whether b is a usable router advertisement, and the MTU in it.
func readAdvertisement(b []byte) (mtu int, ok bool) {
	if len(b) < 16 || b[0] != 134 || b[1] != 0 || binary.BigEndian.Uint16(b[6:]) == 0 {
		return 0, false
	}
	for o := b[16:]; len(o) > 0; o = o[int(o[1])*8:] {
		if len(o) < 8 || o[1] == 0 || int(o[1])*8 > len(o) {
			return 0, false
		}
		if o[0] == 5 {
			mtu = int(binary.BigEndian.Uint32(o[4:]))
		}
	}
	return mtu, true
}
