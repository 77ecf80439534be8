package datapath

import (
	"cmp"
	"fmt"
	"slices"

	"ringfence/host/kernel/netdev"
	"ringfence/observe"
)

// Losses reports, as drops, what the kernel has lost at the ports' devices, the tunnel and the services' device since each was made: before
// the programs saw it (a full queue, a device that was down), which no other counter has, and after they had let it through (a tap whose
// program does not read), which is counted as delivered or sent, too. The caller is in the host's network namespace.
func (d *Datapath) Losses() ([]observe.Drop, error) {
	var links []netdev.Link
	if err := netdev.With("", func(c *netdev.Conn) (err error) {
		links, err = c.List("")
		return err
	}); err != nil {
		return nil, fmt.Errorf("datapath: losses: %w", err)
	}
	var c hostConfig
	if err := d.coll.Maps["host_config"].Lookup(uint32(0), &c); err != nil {
		return nil, fmt.Errorf("datapath: losses: %w", err)
	}
	of := map[int]uint32{int(c.Overlay): 0, int(c.Service): 0}
	d.mu.Lock()
	for index, s := range d.kernel.ports {
		of[int(s.record.Ifindex)] = index
	}
	d.mu.Unlock()
	lost := map[observe.Drop]uint64{}
	for _, l := range links {
		port, ours := of[l.Index]
		if !ours {
			continue
		}
		received, sent := observe.Out, observe.In // directions are the VM's
		if port == 0 {
			received, sent = sent, received
		}
		lost[observe.Drop{Port: port, Dir: received, Reason: observe.KernelReceive}] += l.Lost.Received
		lost[observe.Drop{Port: port, Dir: sent, Reason: observe.KernelTransmit}] += l.Lost.Sent
	}
	var out []observe.Drop
	for k, n := range lost {
		if k.Packets = n; n > 0 {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b observe.Drop) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Reason, b.Reason))
	})
	return out, nil
}
