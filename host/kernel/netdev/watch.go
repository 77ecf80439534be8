package netdev

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Event is what has become of a device.
type Event struct {
	Index   int
	Gone    bool
	Running bool // up here and at its other end
}

// Watch calls fn for every device that is in the caller's namespace, and for each that changes or leaves it, until ctx ends. What the
// kernel could not tell because too much happened at once, the caller must find out by looking.
func Watch(ctx context.Context, fn func(Event)) error {
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	lost := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ListExisting: true, ReceiveBufferSize: 1 << 20, ErrorCallback: func(err error) {
		select {
		case lost <- err:
		default:
		}
	}})
	if err != nil {
		return fmt.Errorf("watch devices: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // the library closes it when it has ended
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-updates:
			if !ok {
				select {
				case err := <-lost:
					return fmt.Errorf("watch devices: %w", err)
				default:
					return fmt.Errorf("watch devices: the kernel tells nothing more")
				}
			}
			if u.Family != unix.AF_UNSPEC {
				continue // a bridge tells of its ports
			}
			gone := u.Header.Type == unix.RTM_DELLINK
			fn(Event{Index: int(u.Index), Gone: gone, Running: !gone && running(u.Attrs().RawFlags)})
		}
	}
}
