package cli

import (
	"fmt"
	"strings"

	"ringfence/cli/checks"
	"ringfence/intent/load"
	"ringfence/verify"
)

type lintCommand struct {
	sourceFlags
	File   string `short:"f" placeholder:"FILE" help:"Assertion file whose levels (lint: …) and machines count."`
	Info   bool   `help:"Print also what is worth knowing and no fault: rules whose order matters, exceptions."`
	SARIF  string `name:"sarif" placeholder:"FILE" help:"Write the findings as SARIF too."`
	Source string `arg:"" optional:"" help:"Template, directory, export or terraform show -json; else the server."`
}

func (lintCommand) Help() string {
	return "Rules that never decide, are not needed, contradict others or belong to nothing; what one security group allows and the other on the way denies; sensitive\nports that the Internet reaches through every filter. Findings are proved, over all packets: by the union of earlier rules, with priorities and both groups.\nThe ids that published checkers give to the same finding stand behind it.\n\n" +
		sourceHelp + `

Exit codes: 0 nothing of level error, 1 something is, 2 something is unknown, 3 bad input.

Examples:
  ringfence lint template.json
  ringfence lint exports/ --sarif lint.sarif`
}

// levelNames gives each kind of finding the name by which the assertion file sets its level.
var levelNames = map[verify.Kind]string{verify.Shadowed: "dead-rules", verify.Irrelevant: "dead-rules", verify.Redundant: "redundant", verify.Unattached: "unattached",
	verify.Upstream: "one-sided", verify.Conflict: "conflicting", verify.Exception: "conflicting", verify.Exposed: "exposed"}

// linted is one finding with its level.
type linted struct {
	verify.Finding
	level string
	at    load.Place
}

func (c *lintCommand) Run(a *app) error {
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
	found, unknown := n.Open.Lint()
	text := &networkText{n}
	var out []linted
	worst := false
	for _, f := range found {
		l := linted{f, f.Level.String(), text.stands(f.Rule.ID())}
		if f.Rule.Rule == "" {
			l.at = text.stands(f.Rule.Group)
		}
		if file != nil && file.Lint[levelNames[f.Kind]] != "" {
			l.level = map[checks.Level]string{checks.Off: "off", checks.Info: "info", checks.Warn: "warning", checks.Error: "error"}[file.Lint[levelNames[f.Kind]]]
		}
		if l.level == "off" || l.level == "info" && !c.Info && (a.flags.Output == "" || a.flags.Output == "table") {
			continue
		}
		worst = worst || l.level == "error"
		out = append(out, l)
	}
	unknown = append(unknown, n.Doubts...)
	ci := func(format string) ([]byte, error) {
		if format == "sarif" {
			return text.lintSARIF(out)
		}
		return noCI(format)
	}
	if c.SARIF != "" {
		report, err := text.lintSARIF(out)
		if err == nil {
			err = a.writeFile(c.SARIF, report)
		}
		if err != nil {
			return badInput{fmt.Errorf("write the findings: %w", err)}
		}
	}
	if c.SARIF != "-" {
		if err := a.formatted(text.lintValue(out, unknown), func() { text.lintText(newPainter(a.out), out, unknown) }, ci); err != nil {
			return err
		}
	}
	return proven(a.faulty(n), worst, len(unknown) > 0)
}

func (n *networkText) lintText(p *painter, found []linted, unknown []string) {
	count := map[string]int{}
	for i := range found {
		f := &found[i]
		count[f.level]++
		colour := map[string]int{"error": red, "warning": yellow, "info": faint}[f.level]
		at := f.at.String()
		if at != "" {
			at += ": "
		}
		p.printf("%s%s %s %s: %s\n", at, p.paint(colour, f.level), f.Kind, n.subject(f), f.Text)
		for _, c := range f.Covering {
			p.printf("%s%s\n", indent, n.rule(c))
		}
		if f.Witness != nil {
			p.printf("%sfor example %s\n", indent, f.Witness)
		}
		if f.Neutral {
			p.printf("%sproved: removing it changes no packet\n", indent)
		}
		if len(f.Aliases) > 0 {
			p.printf("%s\n", p.paint(faint, indent+"also known as "+strings.Join(f.Aliases, ", ")))
		}
	}
	for _, u := range unknown {
		p.printf("%s %s\n", p.paint(yellow, "unknown:"), u)
	}
	if len(found) == 0 && len(unknown) == 0 {
		p.printf("Nothing to complain about.\n")
		return
	}
	var parts []string
	for _, l := range []string{"error", "warning", "info"} {
		if n := count[l]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, countWord(n, l, map[string]string{"error": "errors", "warning": "warnings", "info": "infos"}[l])))
		}
	}
	if len(parts) > 0 {
		p.printf("\n%s.\n", strings.Join(parts, ", "))
	}
}

// subject names what a finding is about.
func (n *networkText) subject(f *linted) string {
	if f.Rule.Group == "" { // no group at all stands in the way
		return "no security group"
	}
	if f.Rule.Rule == "" {
		return lastName(f.Rule.Group)
	}
	return fmt.Sprintf("%s/%s (%s %d)", lastName(f.Rule.Group), shortRule(f.Rule.Rule), f.Direction, f.Priority)
}

type lintValueOne struct {
	Kind      string       `json:"kind"`
	Level     string       `json:"level"`
	ID        string       `json:"id"`
	Direction string       `json:"direction,omitempty"`
	Priority  uint16       `json:"priority,omitempty"`
	Text      string       `json:"text"`
	Covering  []string     `json:"covering,omitempty"`
	Packet    *packetValue `json:"packet,omitempty"`
	Neutral   bool         `json:"removalIsNeutral"`
	Aliases   []string     `json:"aliases,omitempty"`
	File      string       `json:"file,omitempty"`
	Line      int          `json:"line,omitempty"`
}

func (n *networkText) lintValue(found []linted, unknown []string) any {
	v := struct {
		Findings []lintValueOne `json:"findings"`
		Unknown  []string       `json:"unknown"`
		Faults   []faultValue   `json:"faults"`
	}{[]lintValueOne{}, append([]string{}, unknown...), faultsOf(n.Source)}
	for i := range found {
		f := &found[i]
		one := lintValueOne{Kind: string(f.Kind), Level: f.level, ID: f.Rule.ID(), Priority: f.Priority, Text: f.Text, Packet: packetOf(f.Witness), Neutral: f.Neutral,
			Aliases: f.Aliases, File: f.at.File, Line: f.at.Line}
		if f.Rule.Rule == "" {
			one.ID = f.Rule.Group
		} else {
			one.Direction = f.Direction.String()
		}
		for _, c := range f.Covering {
			one.Covering = append(one.Covering, c.ID())
		}
		v.Findings = append(v.Findings, one)
	}
	return v
}

func (n *networkText) lintSARIF(found []linted) ([]byte, error) {
	rules := map[string]string{}
	var out []finding
	for i := range found {
		f := &found[i]
		rules[string(f.Kind)] = kindText[f.Kind]
		level := map[string]string{"error": "error", "warning": "warning", "info": "note"}[f.level]
		text := n.subject(f) + ": " + f.Text
		if len(f.Aliases) > 0 {
			text += " (also known as " + strings.Join(f.Aliases, ", ") + ")"
		}
		at := f.at
		if at.File == "" && len(n.Source.Files) > 0 { // SARIF wants a place
			at.File = n.Source.Files[0]
		}
		out = append(out, finding{string(f.Kind), level, text, at})
	}
	for _, x := range n.Source.Faults {
		rules["bad-input"] = "something could not be read"
		out = append(out, finding{"bad-input", "error", x.Text, x.At})
	}
	return sarif(rules, out)
}

var kindText = map[verify.Kind]string{
	verify.Shadowed: "a rule never decides, and a rule before it acts differently", verify.Redundant: "a rule is not needed",
	verify.Irrelevant: "no packet can match a rule", verify.Unattached: "a security group filters nothing",
	verify.Upstream: "what one security group allows, the other on the way denies", verify.Conflict: "the order of two rules matters",
	verify.Exception: "a rule is an exception from a later one", verify.Exposed: "the Internet reaches a sensitive port",
}
