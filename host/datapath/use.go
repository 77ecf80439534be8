package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ringfence/host/kernel/bpf"
)

// FlowUse says how many entries of the flow tables are booked by ports, and how many there are.
func (d *Datapath) FlowUse() (used, limit uint64, err error) {
	for _, table := range []string{"flows4", "flows6"} {
		limit += uint64(d.coll.Maps[table].MaxEntries())
	}
	slots, err := d.slots()
	if err != nil {
		return 0, limit, fmt.Errorf("datapath: flows in use: %w", err)
	}
	for slot := range slots {
		var n shareValue
		if err := d.coll.Maps["port_flows"].Lookup(slot, &n); err != nil {
			return 0, limit, fmt.Errorf("datapath: flows in use: %w", err)
		}
		used += uint64(n.Flows)
	}
	return used, limit, nil
}

// Relearning says for how much longer segments of unknown TCP connections are judged like first packets: Options.Relearn.
func (d *Datapath) Relearning() (time.Duration, error) {
	var c hostConfig
	if err := d.coll.Maps["host_config"].Lookup(uint32(0), &c); err != nil {
		return 0, fmt.Errorf("datapath: host configuration: %w", err)
	}
	now, err := d.clock.Now()
	if err != nil {
		return 0, fmt.Errorf("datapath: %w", err)
	}
	return time.Duration((max(c.Relearn, now) - now) * uint64(time.Second) / d.clock.Hz), nil
}

// Missing says what is not pinned or not on a device and must be: every map, and the links of the tunnel, the service device and the
// given ports. Without its pins the data plane ends with the process.
func (d *Datapath) Missing(ports []uint32) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(d.coll.Maps)) {
		if _, err := os.Stat(filepath.Join(d.opts.maps(), name)); errors.Is(err, fs.ErrNotExist) && !slices.Contains(ownMaps, name) && name[0] != '.' {
			out = append(out, "map "+name+" is not pinned")
		}
	}
	links := []string{"overlay", "overlay" + closedSuffix, "service", "service" + closedSuffix}
	for _, p := range ports {
		links = append(links, portLink(p), portLink(p)+closedSuffix, portLink(p)+sentSuffix)
	}
	for _, link := range links {
		pin := filepath.Join(d.opts.links(), link)
		if _, err := os.Stat(pin); err != nil {
			out = append(out, "link "+link+" is not pinned")
		} else if bpf.Device(pin) == 0 {
			out = append(out, "link "+link+" is on no device")
		}
	}
	return out
}
