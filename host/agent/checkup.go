package agent

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/host/datapath"
	"ringfence/host/kernel/netdev"
	"ringfence/observe"
)

const (
	// guestMTU is what a guest expects to send without being told less.
	guestMTU = 1500
	// leastRoom is how much must be free for sandboxes' files and logs, in bytes.
	leastRoom = 64 << 20
	// shown bounds what one finding lists.
	shown = 5
)

// checkup is the answer to the question "checkup": what this host finds when it looks at itself.
func (a *Agent) checkup() observe.Checkup {
	c := observe.Checkup{Now: time.Now(), Version: Version}
	if a.Machine != nil {
		c.Findings = a.Machine()
	}
	p := &a.pulse
	p.mu.Lock()
	ports, came, acked, generation, problem, services := p.ports, p.came, p.acked, p.goal, p.problem, p.services
	p.mu.Unlock()
	c.Findings = append(c.Findings, lastGoal(generation, came, acked, problem, c.Now))
	if came.IsZero() {
		return c
	}
	pins := observe.Finding{State: observe.OK, Topic: "pins", What: fmt.Sprintf("all maps and the links of %d ports are pinned and attached", len(ports))}
	if missing := a.Datapath.Missing(ports); len(missing) > 0 {
		pins = observe.Finding{State: observe.Fail, Topic: "pins", What: some(missing),
			Cure: "restart this host's agent: it pins and attaches again what the goal needs"}
	}
	c.Findings = append(c.Findings, pins)
	c.Findings = append(c.Findings, p.loaded(c.Now))
	if services != nil {
		c.Findings = append(c.Findings, servicesFit(services.Problem(), services.Counts()))
	}
	if left, err := a.Datapath.Relearning(); err == nil && left > 0 {
		c.Findings = append(c.Findings, relearning(left))
	}
	return c
}

// servicesFit tells what VMs were served, and what of it went wrong at this end.
func servicesFit(problem error, counts observe.Requests) observe.Finding {
	if problem != nil {
		return observe.Finding{State: observe.Fail, Topic: "services", What: problem.Error(), Cure: "look at the agent's log; the agent starts them again by itself"}
	}
	var said []string
	f := observe.Finding{State: observe.OK, Topic: "services"}
	for _, name := range observe.ServiceNames {
		n := counts[name]
		said = append(said, fmt.Sprintf("%s answered %d", name, n["answered"]+n["forwarded"]))
		for _, bad := range []string{"failed", "limited", "stranger", "unsent"} {
			if n[bad] > 0 {
				said = append(said, fmt.Sprintf("%s %s %d", name, bad, n[bad]))
			}
		}
	}
	f.What = strings.Join(said, ", ")
	if n := counts["dns"]; n["failed"] > n["forwarded"] {
		f.State, f.Cure = observe.Warn, "look at the forwarders (dns_forwarders of the configuration): more questions failed there than were answered"
	}
	return f
}

// relearning is what an operator shall know while an ACK may open a flow.
func relearning(left time.Duration) observe.Finding {
	return observe.Finding{State: observe.Warn, Topic: "flows", What: fmt.Sprintf("all flows were lost; for %v more, segments of TCP connections that no flow knows are judged like first packets", left.Round(time.Second)),
		Cure: "nothing to do: it ends by itself, and is the agent's setting relearn_flows"}
}

func some(list []string) string {
	if len(list) > shown {
		return strings.Join(list[:shown], "; ") + fmt.Sprintf("; and %d more", len(list)-shown)
	}
	return strings.Join(list, "; ")
}

// lastGoal says whether the newest goal is enforced, and how old it is.
func lastGoal(generation uint64, came, acked time.Time, problem string, now time.Time) observe.Finding {
	f := observe.Finding{State: observe.OK, Topic: "goal"}
	age := func(t time.Time) string { return now.Sub(t).Round(time.Second).String() }
	switch {
	case came.IsZero():
		f.State, f.What = observe.Warn, "no goal has come since the agent started"
		f.Cure = "look at the control plane's log: every host that is connected gets a goal"
	case acked.Before(came):
		f.What = fmt.Sprintf("goal %d came %s ago and is being applied", generation, age(came))
		if now.Sub(came) > time.Minute {
			f.State, f.Cure = observe.Fail, "look at the agent's log; restart the agent: what is programmed stays in force meanwhile"
		}
	case problem != "":
		f.State, f.What = observe.Fail, fmt.Sprintf("goal %d is not enforced completely: %s", generation, problem)
		f.Cure = "remove what the message names; the agent tries again by itself within 10 s"
	default:
		f.What = fmt.Sprintf("goal %d came %s ago; it was acknowledged %s ago", generation, age(came), age(acked))
	}
	return f
}

// Kernel says whether this machine could be a host.
func Kernel() observe.Finding { return kernelFit(datapath.Probe()) }

// machine looks at the host itself.
func machine(c Config) []observe.Finding {
	return []observe.Finding{Kernel(), underlayFit(c.Underlay), forwardingOff(), room("run directory", c.RunDir), certificateFit(c, time.Now())}
}

func kernelFit(err error) observe.Finding {
	if err != nil {
		return observe.Finding{State: observe.Fail, Topic: "kernel", What: err.Error(), Cure: "run Linux 6.6 or newer, and the agent as root"}
	}
	var u unix.Utsname
	release := "this kernel"
	if unix.Uname(&u) == nil {
		release = "Linux " + unix.ByteSliceToString(u.Release[:])
	}
	return observe.Finding{State: observe.OK, Topic: "kernel", What: release + " has what the programs need"}
}

// underlayFit compares the underlay's MTU with what a guest's full packet takes inside the tunnel.
func underlayFit(u Underlay) observe.Finding {
	const need = guestMTU + tunnelCost
	mtu, err := underlayMTU(u)
	f := observe.Finding{State: observe.OK, Topic: "mtu", What: fmt.Sprintf("underlay %s carries %d bytes, %d are needed", u.Device, mtu, need)}
	switch {
	case err != nil:
		f.State, f.What, f.Cure = observe.Fail, err.Error(), "give the device and the address of the agent's configuration back to this host"
	case mtu < need:
		f.State = observe.Warn
		f.Cure = fmt.Sprintf("ip link set %s mtu 1600, there and on the switches between the hosts; until then guests are told an MTU of %d by DHCP", u.Device, mtu-tunnelCost)
	}
	return f
}

// closedSysctls are settings that would carry packets past the programs, or filter bridged frames a second time.
var closedSysctls = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"}

func forwardingOff() observe.Finding {
	var on []string
	for _, key := range closedSysctls {
		v, err := netdev.ReadSysctl("", key)
		if n, bad := strconv.Atoi(v); err == nil && bad == nil && n != 0 {
			on = append(on, strings.ReplaceAll(key, "/", "."))
		}
	}
	if on == nil {
		return observe.Finding{State: observe.OK, Topic: "sysctl", What: "the host's own stack forwards and filters nothing"}
	}
	return observe.Finding{State: observe.Warn, Topic: "sysctl", What: "set: " + strings.Join(on, ", "),
		Cure: "sysctl -w " + strings.Join(on, "=0 ") + "=0, unless something else on this host needs it"}
}

// room looks at the free space of a directory.
func room(what, dir string) observe.Finding {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return observe.Finding{State: observe.Fail, Topic: "disk", What: fmt.Sprintf("%s: %v", what, &os.PathError{Op: "statfs", Path: dir, Err: err}),
			Cure: "make the directory; the agent does so when it starts"}
	}
	free := s.Bavail * uint64(s.Bsize)
	f := observe.Finding{State: observe.OK, Topic: "disk", What: fmt.Sprintf("%s %s has %d MiB free", what, dir, free>>20)}
	if free < leastRoom {
		f.State, f.Cure = observe.Fail, "make room on that file system"
	}
	return f
}
