package netdev

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// GRO says whether a device puts together the segments that it receives.
func (c *Conn) GRO(name string) (on bool, err error) {
	value, err := c.ethtool(name, unix.ETHTOOL_GGRO, 0)
	return value != 0, c.fail(err, "read GRO of %s", name)
}

// SetGRO switches that.
func (c *Conn) SetGRO(name string, on bool) error {
	if now, err := c.GRO(name); err != nil || now == on {
		return err
	}
	value := uint32(0)
	if on {
		value = 1
	}
	_, err := c.ethtool(name, unix.ETHTOOL_SGRO, value)
	return c.fail(err, "set GRO of %s", name)
}

// ethtool gives one of the commands that carry one word, and returns the word.
func (c *Conn) ethtool(name string, command, value uint32) (uint32, error) {
	data := struct{ command, value uint32 }{command, value}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		rest [16]byte
	}{data: unsafe.Pointer(&data)}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	err := netns.Do(c.ns, func() error {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(socket)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return errno
		}
		return nil
	})
	return data.value, err
}
