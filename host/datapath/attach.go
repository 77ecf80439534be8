package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ringfence/host/kernel/bpf"
)

// A port's device has a third one, which lets nothing through that the host itself sends there.
const sentSuffix = "-sent"

// Every device has two links: the program of its place, and behind it one that drops and counts whatever comes that far.
// The second is put on first and taken off last.
const closedSuffix = "-closed"

func (d *Datapath) attach(program, name string, ifindex int) error {
	pin := filepath.Join(d.opts.links(), name)
	if d.older != nil && bpf.Device(pin) == ifindex && bpf.Device(pin+closedSuffix) == ifindex {
		return nil // the old set's, until the new one has its goal
	}
	if err := d.put("closed", bpf.Last, pin+closedSuffix, ifindex); err != nil {
		return fmt.Errorf("datapath: %s: %w", name, err)
	}
	if err := d.put(program, bpf.First, pin, ifindex); err != nil {
		return fmt.Errorf("datapath: %s: %w", name, err)
	}
	return nil
}

// put attaches one program and holds its link. A pin that somebody removed is put back first: a second link must not come beside the one
// that is on the device still.
func (d *Datapath) put(program string, place bpf.Place, pin string, ifindex int) error {
	if _, err := d.held.Restore(pin); err != nil {
		return err
	}
	if err := bpf.Attach(d.coll.Programs[program], ifindex, place, pin); err != nil {
		return err
	}
	return d.held.Take(pin)
}

func (d *Datapath) detach(name string) error {
	pin := filepath.Join(d.opts.links(), name)
	pins := []string{pin, pin + closedSuffix, pin + sentSuffix}
	var err error
	for _, one := range pins {
		err = errors.Join(err, bpf.Detach(one))
		d.held.Drop(one)
	}
	return err
}

// guard lets only what the programs have judged go out of a port's device. While programs of another layout are in force it waits for the
// own ones, which know the pass.
func (d *Datapath) guard(name string, ifindex int) error {
	if d.older != nil {
		return nil
	}
	if err := d.put("port_in", bpf.Sent, filepath.Join(d.opts.links(), name+sentSuffix), ifindex); err != nil {
		return fmt.Errorf("datapath: %s: %w", name, err)
	}
	return nil
}

// Restore puts pins back that somebody else removed, and lists them. What they keep alive was held by this process meanwhile: the programs
// were on their devices all the time, with the same maps.
func (d *Datapath) Restore() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dir := range []string{d.opts.maps(), d.opts.links()} {
		if err := bpf.EnsureFS(dir); err != nil {
			return nil, fmt.Errorf("datapath: pins: %w", err)
		}
	}
	put, err := d.held.RestoreAll()
	for name, m := range d.coll.Maps {
		if !d.opts.shared(name) {
			continue
		}
		pin := filepath.Join(d.opts.maps(), name)
		again, one := bpf.RestoreMap(m, pin)
		if again {
			put = append(put, pin)
		}
		err = errors.Join(err, one)
	}
	if err != nil {
		return put, fmt.Errorf("datapath: pins: %w", err)
	}
	return put, nil
}

func portLink(index uint32) string { return "port-" + strconv.FormatUint(uint64(index), 10) }

// AttachPort puts the programs on the host side of a port's device. The port stays down until Apply has put its whole policy
// into force.
func (d *Datapath) AttachPort(ifindex int, index uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.guard(portLink(index), ifindex); err != nil {
		return err
	}
	return d.attach("port_out", portLink(index), ifindex)
}

// DetachPort removes them and takes the port down.
func (d *Datapath) DetachPort(index uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.takeDown(index); err != nil {
		return fmt.Errorf("datapath: port %d: %w", index, err)
	}
	return d.detach(portLink(index))
}

// LosePort says that a port's device is gone: the port is down at once, the flows of what was behind it end, and its links, which are on
// nothing any more, are let go.
func (d *Datapath) LosePort(index uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.kernel.ports[index]; s != nil {
		w := makePortWord(s.word.half(), false, s.word.incarnation()+1, s.slot, s.word.epoch())
		if err := d.coll.Maps["port_words"].Put(s.slot, w); err != nil {
			return fmt.Errorf("datapath: port %d: %w", index, err)
		}
		s.word = w
	}
	return d.detach(portLink(index))
}

// SetReady says whether a port's device is up at both ends. While it is not, what would be handed to it is dropped by name: the kernel
// would lose it and tell nobody. A port that is not programmed yet begins as ready.
func (d *Datapath) SetReady(index uint32, ready bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.kernel.ports[index]
	if s == nil {
		return nil
	}
	var now portWord // the programs themselves find out that a device is up again
	if err := d.coll.Maps["port_words"].Lookup(s.slot, &now); err != nil {
		return fmt.Errorf("datapath: port %d: %w", index, err)
	}
	w := s.word.readied(ready)
	if w == now {
		s.word = w
		return nil
	}
	if err := d.coll.Maps["port_words"].Put(s.slot, w); err != nil {
		return fmt.Errorf("datapath: port %d: %w", index, err)
	}
	s.word = w
	return nil
}

// AttachOverlay puts the programs on the collect-metadata VXLAN device.
func (d *Datapath) AttachOverlay(ifindex int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.attach("overlay_in", "overlay", ifindex); err != nil {
		return err
	}
	return d.configure(func(c *hostConfig) { c.Overlay = uint32(ifindex) })
}

// AttachUplink closes the uplink device.
func (d *Datapath) AttachUplink(ifindex int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	pin := filepath.Join(d.opts.links(), "uplink")
	if d.older != nil && bpf.Device(pin) == ifindex {
		return nil
	}
	if err := d.put("uplink_in", bpf.First, pin, ifindex); err != nil {
		return fmt.Errorf("datapath: uplink: %w", err)
	}
	return nil
}

// AttachService puts the programs on the host side of the service device.
func (d *Datapath) AttachService(ifindex int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.attach("service_in", "service", ifindex); err != nil {
		return err
	}
	return d.configure(func(c *hostConfig) { c.Service = uint32(ifindex) })
}

// relink gives this process's programs to the links that an earlier one pinned, and drops links whose device is gone.
func (d *Datapath) relink() error {
	entries, err := os.ReadDir(d.opts.links())
	if err != nil {
		return fmt.Errorf("pinned links: %w", err)
	}
	ports := map[string]int{}
	for _, e := range entries {
		pin := filepath.Join(d.opts.links(), e.Name())
		ifindex := bpf.Device(pin)
		if ifindex == 0 {
			if err := bpf.Detach(pin); err != nil {
				return err
			}
			continue
		}
		if strings.HasSuffix(e.Name(), sentSuffix) {
			continue
		}
		if err := d.put(programOf(e.Name()), bpf.First, pin, ifindex); err != nil {
			return err
		}
		if programOf(e.Name()) == "port_out" {
			ports[e.Name()] = ifindex
		}
		if err := d.opts.die("link"); err != nil {
			return err
		}
	}
	for name, ifindex := range ports { // last: they let through only what programs send that know the pass
		if err := d.put("port_in", bpf.Sent, filepath.Join(d.opts.links(), name+sentSuffix), ifindex); err != nil {
			return err
		}
	}
	return nil
}

func programOf(link string) string {
	switch {
	case strings.HasSuffix(link, closedSuffix):
		return "closed"
	case link == "overlay":
		return "overlay_in"
	case link == "service":
		return "service_in"
	case link == "uplink":
		return "uplink_in"
	}
	return "port_out"
}
