package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"ringfence/cli/checks"
	"ringfence/goal"
	"ringfence/verify"
)

type matrixCommand struct {
	sourceFlags
	File   string `short:"f" placeholder:"FILE" help:"Assertion file whose zones are shown; else subnets, application security groups and the Internet."`
	Ports  []int  `sep:"," help:"Show only these TCP ports, and whether all, some or no packets arrive: 22,443."`
	Source string `arg:"" optional:"" help:"Template, directory, export or terraform show -json; else the server."`
}

func (matrixCommand) Help() string {
	return "One row per pair of zones: all that arrives, for at least one pair of interfaces. What comes from the Internet is judged by rules alone: a public way to\nthe machine is assumed.\n\n" +
		sourceHelp + `

Examples:
  ringfence verify matrix template.json
  ringfence verify matrix -f checks.yaml --ports 22,443,1433 exports/`
}

// cellValue is one row of the matrix.
type cellValue struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Arrives string   `json:"arrives"`
	Unknown []string `json:"unknown,omitempty"`
	Assumed string   `json:"assumed,omitempty"`
}

func (c *matrixCommand) Run(a *app) error {
	var file *checks.File
	var err error
	if c.File != "" {
		if file, err = a.checkFile(c.File); err != nil {
			return err
		}
	}
	n, err := c.network(a, c.Source, file, nil)
	if err != nil {
		return err
	}
	zones := verify.Zones{}
	if file != nil {
		zones = file.Checks.Zones
	} else {
		zones = n.Open.Propose().Zones
	}
	if len(zones) == 0 {
		return badInput{fmt.Errorf("there is no zone: no interface is in any subnet")}
	}
	rows, unknown, err := c.rows(n.Open, n.Closed, zones)
	if err != nil {
		return badInput{err}
	}
	err = a.formatted(rows, func() {
		assumed := map[string]bool{}
		t := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "From\tTo\tArrives\n----\t--\t-------")
		for _, r := range rows {
			mark := ""
			if r.Assumed != "" {
				mark = " *"
				assumed[r.Assumed] = true
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", r.From, r.To, r.Arrives+mark)
		}
		t.Flush()
		for _, x := range sortedKeys(assumed) {
			fmt.Fprintf(a.out, "* assumed: %s\n", x)
		}
		for _, u := range distinct(rows) {
			fmt.Fprintf(a.out, "? %s\n", u)
		}
		(&networkText{n}).notes(newPainter(a.out))
	}, noCI)
	if err != nil {
		return err
	}
	return proven(a.faulty(n), false, unknown)
}

func distinct(rows []cellValue) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.Unknown...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *matrixCommand) rows(open, closed *verify.Network, zones verify.Zones) (rows []cellValue, unknown bool, err error) {
	if len(c.Ports) > 0 {
		return c.extents(open, closed, zones)
	}
	names := sortedKeys(zones)
	for _, from := range names {
		for _, to := range names {
			t := verify.Traffic{From: from, To: to}
			r, err := open.Reach(zones, t)
			if err != nil {
				return nil, false, err
			}
			cell := cellValue{From: from, To: to, Arrives: services(r.Flows), Unknown: r.Unknown}
			for _, f := range r.Flows {
				cell.Assumed = cmp.Or(cell.Assumed, f.Assumed)
			}
			if closed != open {
				least, err := closed.Reach(zones, t)
				if err != nil {
					return nil, false, err
				}
				if s := services(least.Flows); s != cell.Arrives {
					cell.Arrives += " or " + s
					cell.Unknown = append(cell.Unknown, "the rules that are not known decide")
				}
			}
			if len(cell.Unknown) > 0 {
				unknown = true
				cell.Arrives += " ?"
			}
			rows = append(rows, cell)
		}
	}
	return rows, unknown, nil
}

func (c *matrixCommand) extents(open, closed *verify.Network, zones verify.Zones) (rows []cellValue, unknown bool, err error) {
	var ports []uint16
	for _, p := range c.Ports {
		if p < 0 || p > 65535 {
			return nil, false, fmt.Errorf("--ports %d: 0 to 65535", p)
		}
		ports = append(ports, uint16(p))
	}
	entries, err := open.Matrix(zones, goal.TCP, ports)
	if err != nil {
		return nil, false, err
	}
	least, err := closed.Matrix(zones, goal.TCP, ports)
	if err != nil {
		return nil, false, err
	}
	for i, e := range entries {
		word := e.Verdict.String()
		if e.Verdict != least[i].Verdict {
			word = verify.Undecidable.String()
		}
		unknown = unknown || word == verify.Undecidable.String()
		text := fmt.Sprintf("tcp/%d %s", e.Port, word)
		if k := len(rows) - 1; k >= 0 && rows[k].From == e.From && rows[k].To == e.To {
			rows[k].Arrives += "  " + text
			continue
		}
		rows = append(rows, cellValue{From: e.From, To: e.To, Arrives: text})
	}
	return rows, unknown, nil
}

// services says what arrives in as few words as it can: by protocol, with the destination's ports.
func services(flows []verify.Flow) string {
	ports := map[uint8][]goal.PortRange{}
	others, icmp, any, limited := map[string]bool{}, false, false, false
	for _, f := range flows {
		for _, b := range f.Boxes {
			for _, p := range b.Protocols {
				switch {
				case p.ICMP:
					icmp = true
				default:
					for proto := int(p.Lo); proto <= int(p.Hi); proto++ {
						switch uint8(proto) {
						case goal.TCP, goal.UDP:
							ports[uint8(proto)] = append(ports[uint8(proto)], b.DstPorts...)
						case goal.ESP:
							others["esp"] = true
						case goal.AH:
							others["ah"] = true
						default:
							any = true
						}
					}
				}
			}
			limited = limited || few(b.SrcPorts)
		}
	}
	var out []string
	full := 0
	for _, p := range []struct {
		n    uint8
		word string
	}{{goal.TCP, "tcp"}, {goal.UDP, "udp"}} {
		merged := mergeRanges(ports[p.n])
		if len(merged) == 1 && merged[0] == goal.AnyPort {
			full++
			out = append(out, p.word)
		} else if len(merged) > 0 {
			out = append(out, p.word+"/"+rangesText(merged))
		}
	}
	if icmp {
		out = append(out, "icmp")
	}
	out = append(out, sortedKeys(others)...)
	switch {
	case len(out) == 0 && !any:
		return "-"
	case full == 2 && icmp && (any || len(others) == 2):
		return "everything"
	}
	text := strings.Join(out, " ")
	if limited {
		text += " (from some ports)"
	}
	return text
}

// few says that source ports are restricted by more than what the platform keeps for itself.
func few(ports []goal.PortRange) bool {
	n := 0
	for _, p := range ports {
		n += int(p.Hi) - int(p.Lo) + 1
	}
	return n > 0 && n < 65530
}

func mergeRanges(in []goal.PortRange) []goal.PortRange {
	slices.SortFunc(in, func(a, b goal.PortRange) int { return int(a.Lo) - int(b.Lo) })
	var out []goal.PortRange
	for _, r := range in {
		if n := len(out); n > 0 && int(r.Lo) <= int(out[n-1].Hi)+1 {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}
