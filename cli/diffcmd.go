package cli

import (
	"fmt"
	"slices"
	"strings"

	"ringfence/cli/checks"
	"ringfence/cli/offline"
	"ringfence/verify"
)

type diffCommand struct {
	sourceFlags
	File string `short:"f" placeholder:"FILE" help:"Assertion file whose machines and tags are assumed on both sides."`
	All  bool   `help:"Print every line, not the first 20."`
	Exit bool   `name:"exit-code" help:"Exit with 1 when a packet changes."`
	Old  string `arg:"" help:"Before: template, directory, export or terraform show -json."`
	New  string `arg:"" optional:"" help:"After; else the server."`
}

func (diffCommand) Help() string {
	return "The exact set of packets that are newly allowed and newly denied: what no line names has not changed. Each line has the rules that decided before\nand now and an example packet.\n\n" +
		sourceHelp + "\n\n" + `Exit codes: 0 compared (with --exit-code 1 when something changed), 2 something is unknown, 3 bad input.

Examples:
  ringfence diff old.json new.json
  ringfence diff exports/ plan.json --all`
}

// mostLines is how many lines of a difference are printed by default.
const mostLines = 20

func (c *diffCommand) Run(a *app) error {
	var file *checks.File
	var err error
	if c.File != "" {
		if file, err = a.checkFile(c.File); err != nil {
			return err
		}
	}
	memo := verify.NewMemo()
	old, err := c.network(a, c.Old, file, memo)
	if err != nil {
		return err
	}
	now, err := c.network(a, c.New, file, memo)
	if err != nil {
		return err
	}
	d, err := verify.Diff(old.Open, now.Open)
	if err != nil {
		return badInput{err}
	}
	if old.Open != old.Closed || now.Open != now.Closed {
		d.Unknown = append(d.Unknown, append(old.Doubts, now.Doubts...)...)
	}
	d.Added, d.Gone = genuine(d.Added, now), genuine(d.Gone, old)
	before, after := &networkText{old}, &networkText{now}
	err = a.formatted(differenceValue(before, after, d), func() { c.text(newPainter(a.out), before, after, d) }, noCI)
	if err != nil {
		return err
	}
	return proven(a.faulty(old, now), c.Exit && !d.Same() && len(d.Unknown) == 0, len(d.Unknown) > 0)
}

// genuine leaves out the interfaces that only stand for any machine.
func genuine(ids []string, n *offline.Network) []string {
	return slices.DeleteFunc(ids, func(id string) bool {
		_, assumed := n.Source.Assumed[strings.ToLower(id)]
		return assumed && strings.HasPrefix(lastName(id), "any-")
	})
}

func noCI(format string) ([]byte, error) {
	return nil, usagef("-o %s: only `ringfence verify` and `ringfence lint` have that output", format)
}

func (c *diffCommand) text(p *painter, before, after *networkText, d *verify.Difference) {
	shown := 0
	for i := range d.Changes {
		if shown == mostLines && !c.All {
			p.printf("… and %d lines more; --all prints them.\n", len(d.Changes)-shown)
			break
		}
		shown++
		ch := &d.Changes[i]
		word := p.paint(red, "+ allowed")
		if !ch.Allowed {
			word = p.paint(yellow, "- denied ")
		}
		p.printf("%s  %s\n", word, changeText(after, ch))
		p.printf("%sbefore %s, now %s\n", indent+" ", before.rule(ch.OldBy), after.rule(ch.NewBy))
	}
	for _, list := range []struct {
		word string
		ids  []string
	}{{"new interface", d.Added}, {"interface gone", d.Gone}} {
		for _, id := range list.ids {
			p.printf("%s: %s\n", list.word, lastName(id))
		}
	}
	for _, u := range d.Unknown {
		p.printf("%s %s\n", p.paint(yellow, "unknown:"), u)
	}
	switch {
	case d.Same():
		p.printf("No packet changes%s.\n", rewritten(d))
	case len(d.Changes) == 0 && len(d.Unknown) == 0:
		p.printf("No packet between interfaces that both have changes.\n")
	}
	after.notes(p)
}

// rewritten names groups whose text changed and whose effect did not.
func rewritten(d *verify.Difference) string {
	if len(d.GroupsChanged) == 0 {
		return ""
	}
	var names []string
	for _, id := range d.GroupsChanged {
		names = append(names, lastName(id))
	}
	return ", although rules changed in " + strings.Join(names, ", ")
}

// changeText is one line of a difference: the packets, and an example.
func changeText(n *networkText, c *verify.Change) string {
	text := ""
	if len(c.Boxes) > 0 {
		text = c.Boxes[0].String()
	}
	if len(c.Boxes) > 1 {
		text += fmt.Sprintf(" and %d more %s", len(c.Boxes)-1, countWord(len(c.Boxes)-1, "set", "sets"))
	}
	text += "; for example " + c.Witness.String() + n.ends(&c.Witness)
	if c.Assumed != "" {
		text += " [assumed: " + c.Assumed + "]"
	}
	return text
}

type changeValue struct {
	Change  string       `json:"change"`
	Packets []string     `json:"packets"`
	Example *packetValue `json:"example"`
	Before  string       `json:"before"`
	Now     string       `json:"now"`
	Assumed string       `json:"assumed,omitempty"`
}

func (n *networkText) change(c *verify.Change) changeValue {
	v := changeValue{Change: "denied", Example: packetOf(&c.Witness), Before: c.OldBy.ID(), Now: c.NewBy.ID(), Assumed: c.Assumed, Packets: []string{}}
	if c.Allowed {
		v.Change = "allowed"
	}
	for _, b := range c.Boxes {
		v.Packets = append(v.Packets, b.String())
	}
	return v
}

func differenceValue(before, after *networkText, d *verify.Difference) any {
	v := struct {
		Same    bool          `json:"same"`
		Changes []changeValue `json:"changes"`
		Added   []string      `json:"added"`
		Gone    []string      `json:"gone"`
		Unknown []string      `json:"unknown"`
		Groups  []string      `json:"groupsChanged"`
		Faults  []faultValue  `json:"faults"`
	}{d.Same(), []changeValue{}, append([]string{}, d.Added...), append([]string{}, d.Gone...), append([]string{}, d.Unknown...), append([]string{}, d.GroupsChanged...),
		append(faultsOf(before.Source), faultsOf(after.Source)...)}
	for i := range d.Changes {
		v.Changes = append(v.Changes, after.change(&d.Changes[i]))
	}
	return v
}
