package netdev

import (
	"fmt"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// PacketConn sends and receives whole Ethernet frames on one device. Close ends a blocked Read.
type PacketConn struct{ c *packet.Conn }

// OpenPacket opens a frame socket on a device of the namespace ns. It receives what arrives, not what the host sends.
func OpenPacket(ns, device string) (*PacketConn, error) {
	var pc PacketConn
	err := netns.Do(ns, func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		pc.c, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", device, err)
	}
	if err := pc.ignoreOutgoing(); err != nil {
		pc.Close()
		return nil, fmt.Errorf("open packet socket on %s: %w", device, err)
	}
	return &pc, nil
}

func (p *PacketConn) ignoreOutgoing() error {
	raw, err := p.c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}); err != nil {
		return err
	}
	return serr
}

// Read receives one frame.
func (p *PacketConn) Read(b []byte) (int, error) {
	n, _, err := p.c.ReadFrom(b)
	return n, err
}

// Write sends one frame.
func (p *PacketConn) Write(frame []byte) (int, error) {
	return p.c.WriteTo(frame, everyone)
}

// everyone stands in the socket address only: a raw frame carries its own destination.
var everyone = &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}

// Close closes the socket.
func (p *PacketConn) Close() error { return p.c.Close() }
