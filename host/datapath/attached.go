package datapath

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Attached lists the ports that have pinned links, also those of an earlier process, by index.
func (d *Datapath) Attached() ([]uint32, error) {
	entries, err := os.ReadDir(d.opts.links())
	if err != nil {
		return nil, fmt.Errorf("datapath: pinned links: %w", err)
	}
	var out []uint32
	for _, e := range entries {
		text, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSuffix(e.Name(), closedSuffix), sentSuffix), "port-")
		if index, err := strconv.ParseUint(text, 10, 32); ok && err == nil {
			out = append(out, uint32(index))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
