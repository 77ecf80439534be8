package sandbox

import (
	"ringfence/goal"
	"ringfence/host/kernel/netdev"
)

// Foreign says whether there is a device with p's name that is another NIC's: the port's index had another owner before, and Ensure
// would replace the device.
func (m *Manager) Foreign(p goal.Port) (foreign bool, err error) {
	err = netdev.With("", func(c *netdev.Conn) error {
		l, ok, err := c.Link(Device(p.Index))
		foreign = ok && (p.Attachment.Kind == goal.KindTap || l.Alias != m.alias(p))
		return err
	})
	if err != nil || foreign {
		return foreign, err
	}
	return m.foreignTap(p)
}
