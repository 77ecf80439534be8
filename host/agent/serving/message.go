package serving

import (
	"fmt"
	"os"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"ringfence/goal"
	"ringfence/observe"
)

// The agent and the process speak gob over one connection: hello from the process, then an order from the agent and done from the
// process, in turns.
type (
	hello struct {
		Program   string // which program file it runs
		Namespace uint64 // inode of the namespace that it serves in
		PID       int
	}
	order struct {
		Number uint64
		Goal   *goal.Host
		Ping   bool // answer, nothing else
		Stop   bool // end, somebody else will serve
	}
	done struct {
		Number  uint64 // of the order, 0 for a ping
		Problem string // services that do not run
		Counts  observe.Requests
	}
)

// program identifies the file that this process runs, also when another one has its name by now.
func program() (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: "/proc/self/exe", Err: err}
	}
	return fmt.Sprintf("%d:%d:%d.%d", st.Dev, st.Ino, st.Mtim.Sec, st.Mtim.Nsec), nil
}

// about is the part of a goal that services answer from: no rules, and of addresses only the VMs' own.
func about(h *goal.Host) *goal.Host {
	part := &goal.Host{Name: h.Name, Generation: h.Generation, Underlay: h.Underlay, Ports: h.Ports, Zones: h.Zones, Forwarders: h.Forwarders}
	for _, n := range h.VNets {
		part.VNets = append(part.VNets, goal.VNet{VNI: n.VNI, ID: n.ID, Prefixes: n.Prefixes, Domain: n.Domain, Names: n.Names, Zones: n.Zones})
	}
	return part
}

// same says whether two parts differ in nothing but the generation: most goals change rules only, and share the rest.
func same(a, b *goal.Host) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Name == b.Name && a.Underlay == b.Underlay && slices.Equal(a.Forwarders, b.Forwarders) &&
		reflect.DeepEqual(a.Ports, b.Ports) && reflect.DeepEqual(a.Zones, b.Zones) && reflect.DeepEqual(a.VNets, b.VNets)
}
