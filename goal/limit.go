package goal

import (
	"fmt"
	"strings"
)

// Limits bound what a port may make its host do beside carrying known flows. A Rate that is zero does not bound.
type Limits struct {
	ARP     Rate // ARP requests that are answered
	ND      Rate // neighbour solicitations that are answered
	DHCP    Rate // DHCP messages and router solicitations, for the DHCP service
	DNS     Rate // packets for the host's DNS
	Service Rate // packets for the metadata service and the wire server
	Flows   Rate // packets that would open a flow from the VM: rules are asked about no more than these
}

// Rate is a token bucket: Burst packets at once, and then PerSecond.
type Rate struct{ PerSecond, Burst uint32 }

// DefaultLimits leave a busy guest alone and bound a hostile one: answers in place cost the host a tenth of a microsecond each, messages
// of DHCP a wakeup, a new flow one to three microseconds. For DNS it is the figure that is commonly told of Azure.
var DefaultLimits = Limits{
	ARP: Rate{1000, 1000}, ND: Rate{1000, 1000}, DHCP: Rate{10, 20}, DNS: Rate{1000, 1000}, Service: Rate{500, 1000}, Flows: Rate{50_000, 100_000},
}

// LimitKind names one of Limits.
type LimitKind uint8

// The kinds, in the order of the fields of Limits; the numbers are the kernel's.
const (
	LimitARP LimitKind = iota
	LimitND
	LimitDHCP
	LimitDNS
	LimitService
	LimitFlows
	LimitKinds
)

func (k LimitKind) String() string {
	return [...]string{"arp", "nd", "dhcp", "dns", "service", "flows"}[k]
}

// Of returns the rate of one kind.
func (l *Limits) Of(k LimitKind) *Rate {
	return [...]*Rate{&l.ARP, &l.ND, &l.DHCP, &l.DNS, &l.Service, &l.Flows}[k]
}

// Gap is the time that one packet takes out of the bucket, in nanoseconds; 0: there is no bound. The kernel counts in it.
func (r Rate) Gap() uint32 {
	if r.PerSecond == 0 {
		return 0
	}
	return max(1, uint32(1e9/r.PerSecond))
}

// maxBurst keeps the time that a bucket holds in the numbers of the kernel.
const maxBurst = 1 << 24

// Check says what is wrong with the limits, nil when nothing is.
func (l *Limits) Check() error {
	for k := range LimitKinds {
		r := l.Of(k)
		switch {
		case r.PerSecond == 0 && r.Burst != 0, r.PerSecond != 0 && r.Burst == 0:
			return fmt.Errorf("limit %s: %d per second, burst %d: expected both or none", k, r.PerSecond, r.Burst)
		case r.Burst > maxBurst || r.PerSecond > 1e9:
			return fmt.Errorf("limit %s: %d per second, burst %d: at most %d and %d expected", k, r.PerSecond, r.Burst, int(1e9), maxBurst)
		}
	}
	return nil
}

func (l *Limits) text(b *strings.Builder) {
	for k := range LimitKinds {
		if r := l.Of(k); *r != (Rate{}) {
			fmt.Fprintf(b, "  limit %s %d burst %d\n", k, r.PerSecond, r.Burst)
		}
	}
}
