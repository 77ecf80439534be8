package cli

import (
	"fmt"
	"slices"

	"ringfence/cli/checks"
	"ringfence/goal"
	"ringfence/verify"
)

type initCommand struct {
	sourceFlags
	Source string `arg:"" optional:"" help:"Template, directory, export or terraform show -json; else the server."`
}

func (initCommand) Help() string {
	return "A zone for every subnet with machines and every application security group with members, and for every pair of them what is open today and nothing\nelse. Every assertion was proved. Read it and strike out what should not be open.\n\n" +
		sourceHelp + `

Examples:
  ringfence verify init template.json > checks.yaml`
}

func (c *initCommand) Run(a *app) error {
	n, err := c.network(a, c.Source, nil, nil)
	if err != nil {
		return err
	}
	proposed := n.Closed.Propose()
	if n.Closed != n.Open { // what a rule that is not known decides is left to people
		results, _ := n.Check(proposed, nil)
		proposed.Assert = slices.DeleteFunc(proposed.Assert, func(x verify.Assertion) bool {
			return slices.ContainsFunc(results, func(r verify.Result) bool { return r.ID == x.ID && r.Status != verify.Holds })
		})
	}
	if len(proposed.Zones) == 0 {
		return badInput{fmt.Errorf("there is nothing to check: no interface is in any subnet")}
	}
	for i := range proposed.Assert {
		proposed.Assert[i].Except = joined(proposed.Assert[i].Except)
	}
	if _, err := a.out.Write(checks.Write(proposed)); err != nil {
		return err
	}
	return proven(a.faulty(n), false, false)
}

// joined writes exceptions that differ only in their ports, or in their ICMP types, as one.
func joined(list []verify.Traffic) []verify.Traffic {
	var out []verify.Traffic
	for _, t := range list {
		i := slices.IndexFunc(out, func(o verify.Traffic) bool {
			return o.From == t.From && o.To == t.To && slices.Equal(o.Protocols, t.Protocols) && o.SrcPorts == nil && t.SrcPorts == nil && (o.DstPorts == nil) == (t.DstPorts == nil)
		})
		if i < 0 {
			out = append(out, t)
			continue
		}
		out[i].DstPorts = mergeRanges(slices.Concat(out[i].DstPorts, t.DstPorts))
		out[i].ICMPTypes = slices.Concat(out[i].ICMPTypes, t.ICMPTypes)
		slices.Sort(out[i].ICMPTypes)
	}
	for i := range out {
		if len(out[i].DstPorts) == 1 && out[i].DstPorts[0] == goal.AnyPort {
			out[i].DstPorts = nil
		}
	}
	return out
}

type coverageCommand struct {
	sourceFlags
	File   string `short:"f" required:"" placeholder:"FILE" help:"Assertion file."`
	Source string `arg:"" optional:"" help:"Template, directory, export or terraform show -json; else the server."`
}

func (coverageCommand) Help() string {
	return "A rule is touched when it decides about a packet that some assertion is about. Nobody would notice the loss of one that is not.\n\n" + sourceHelp + `

Exit codes: 0 every rule is touched, 1 some are not, 3 bad input.

Examples:
  ringfence verify coverage -f checks.yaml template.json`
}

func (c *coverageCommand) Run(a *app) error {
	file, err := a.checkFile(c.File)
	if err != nil {
		return err
	}
	n, err := c.network(a, c.Source, file, nil)
	if err != nil {
		return err
	}
	found, err := n.Open.Coverage(file.Checks)
	if err != nil {
		return badInput{err}
	}
	text := &networkText{n}
	type rule struct {
		ID   string `json:"id"`
		File string `json:"file,omitempty"`
		Line int    `json:"line,omitempty"`
	}
	value := struct {
		Touched   int    `json:"touched"`
		Untouched []rule `json:"untouched"`
	}{len(found.Touched), []rule{}}
	for _, r := range found.Untouched {
		at := text.stands(r.ID())
		value.Untouched = append(value.Untouched, rule{r.ID(), at.File, at.Line})
	}
	err = a.formatted(value, func() {
		fmt.Fprintf(a.out, "%d of %d rules decide about packets of some assertion.\n", len(found.Touched), len(found.Touched)+len(found.Untouched))
		for _, r := range found.Untouched {
			fmt.Fprintf(a.out, "not touched  %s\n", text.rule(r))
		}
	}, noCI)
	if err != nil {
		return err
	}
	return proven(a.faulty(n), len(found.Untouched) > 0, false)
}
