// Package matrix compares three opinions about which packets get through: what real packets did, what the goal's model says, and
// what was written down by hand.
//
// In: the two hand-written files of an example (machines, expectations) and, cell by cell, the answers. Out: a table with three
// columns and the cells in which they differ or which nobody measured. Pure: it sends nothing itself.
package matrix

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Machine is one line of machines.txt.
type Machine struct {
	Name, Tier, Subnet string
	ASG                string // "" for none
	Addresses          []netip.Addr
	Hosts              map[string]string // by tenant; a tenant without the machine has no entry
}

// Probe is a column of expected.txt: a protocol with its port.
type Probe struct {
	Network string // tcp, udp, icmp
	Port    uint16
}

func (p Probe) String() string {
	if p.Port == 0 {
		return p.Network
	}
	return fmt.Sprintf("%s/%d", p.Network, p.Port)
}

// Expectations is expected.txt.
type Expectations struct {
	Probes []Probe
	rows   map[[2]string]map[Probe]bool
	Order  [][2]string // from, to as in the file
}

// Expect gives what was written down for a cell; known is false where nothing was.
func (e *Expectations) Expect(from, to string, p Probe) (through, known bool) {
	row, ok := e.rows[[2]string{from, to}]
	if !ok {
		return false, false
	}
	through, known = row[p]
	return through, known
}

// lines yields the words of every line that is not empty, without comments.
func lines(text string, each func(number int, words []string) error) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			if err := each(n, words); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	return nil
}

// ParseMachines reads machines.txt: name, tier, subnet, group, IPv4, IPv6 and one column of hosts per tenant. A dash stands for none.
func ParseMachines(text string, tenants ...string) ([]Machine, error) {
	var out []Machine
	err := lines(text, func(_ int, w []string) error {
		if len(w) != 6+len(tenants) {
			return fmt.Errorf("%d words, expected name, tier, subnet, group, IPv4, IPv6 and a host for each of %s", len(w), strings.Join(tenants, ", "))
		}
		m := Machine{Name: w[0], Tier: w[1], Subnet: w[2], Hosts: map[string]string{}}
		if slices.ContainsFunc(out, func(o Machine) bool { return o.Name == m.Name }) {
			return fmt.Errorf("the machine %s occurs twice", m.Name)
		}
		if w[3] != "-" {
			m.ASG = w[3]
		}
		for i, version := range []string{"IPv4", "IPv6"} {
			if w[4+i] == "-" {
				continue
			}
			a, err := netip.ParseAddr(w[4+i])
			if err != nil || a.Is4() != (version == "IPv4") {
				return fmt.Errorf("%q is no %s address", w[4+i], version)
			}
			m.Addresses = append(m.Addresses, a)
		}
		if len(m.Addresses) == 0 {
			return fmt.Errorf("the machine %s has no address", m.Name)
		}
		for i, t := range tenants {
			if host := w[6+i]; host != "-" {
				m.Hosts[t] = host
			}
		}
		out = append(out, m)
		return nil
	})
	return out, err
}

// ParseExpected reads expected.txt: a head "from to PROBE…", then a line per pair with yes or no for each probe.
func ParseExpected(text string) (*Expectations, error) {
	e := &Expectations{rows: map[[2]string]map[Probe]bool{}}
	err := lines(text, func(_ int, w []string) error {
		if e.Probes == nil {
			return e.head(w)
		}
		if len(w) != 2+len(e.Probes) {
			return fmt.Errorf("%d words, expected from, to and %d times yes or no", len(w), len(e.Probes))
		}
		key := [2]string{w[0], w[1]}
		if e.rows[key] != nil {
			return fmt.Errorf("%s to %s occurs twice", w[0], w[1])
		}
		row := map[Probe]bool{}
		for i, word := range w[2:] {
			if word != "yes" && word != "no" {
				return fmt.Errorf("%q is neither yes nor no", word)
			}
			row[e.Probes[i]] = word == "yes"
		}
		e.rows[key] = row
		e.Order = append(e.Order, key)
		return nil
	})
	if err == nil && len(e.Order) == 0 {
		err = fmt.Errorf("nothing is expected")
	}
	return e, err
}

func (e *Expectations) head(w []string) error {
	if len(w) < 3 || w[0] != "from" || w[1] != "to" {
		return fmt.Errorf("the first line is %q, expected: from to PROBE…", strings.Join(w, " "))
	}
	for _, word := range w[2:] {
		p, err := parseProbe(word)
		if err != nil {
			return err
		}
		if slices.Contains(e.Probes, p) {
			return fmt.Errorf("the probe %s occurs twice", word)
		}
		e.Probes = append(e.Probes, p)
	}
	return nil
}

func parseProbe(word string) (Probe, error) {
	network, port, hasPort := strings.Cut(word, "/")
	if network == "icmp" && !hasPort {
		return Probe{Network: network}, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || network != "tcp" && network != "udp" {
		return Probe{}, fmt.Errorf("%q is no probe: tcp/PORT, udp/PORT or icmp", word)
	}
	return Probe{network, uint16(n)}, nil
}
