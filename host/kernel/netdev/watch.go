package netdev

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// WatchGone calls fn with the index of every device that leaves the caller's namespace, until ctx ends. What happened before it listens,
// and what the kernel could not tell because too much happened at once, the caller must find out by looking.
func WatchGone(ctx context.Context, fn func(index int)) error {
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	lost := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ReceiveBufferSize: 1 << 20, ErrorCallback: func(err error) {
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
			if u.Header.Type == unix.RTM_DELLINK {
				fn(int(u.Index))
			}
		}
	}
}
