package cli

import (
	"fmt"
	"slices"

	"ringfence/cli/checks"
	"ringfence/cli/offline"
	"ringfence/verify"
)

// verifyCommands prove assertions about all packets.
type verifyCommands struct {
	Check    verifyCommand   `cmd:"" default:"withargs" help:"Prove or refute the assertions of a file."`
	Init     initCommand     `cmd:"" help:"Propose an assertion file of what is open today."`
	Matrix   matrixCommand   `cmd:"" help:"Show who reaches whom on which ports."`
	Coverage coverageCommand `cmd:"" help:"List the rules that no assertion touches."`
}

const sourceHelp = `SOURCE is an ARM template (-p gives parameters; a file NAME.parameters.json beside it is used), a directory or file of exported resources
(az … show or list -o json, the portal, the API, Resource Graph), or what "terraform show -json" prints of a plan or a state. Without SOURCE
the server is asked. Nothing else is needed: neither root nor a server.`

const codesHelp = `Exit codes: 0 everything holds, 1 something is violated, 2 something is unknown (a resource that is not modelled matters), 3 bad input.`

func (verifyCommands) Help() string {
	return "`ringfence verify -f checks.yaml SOURCE` is `ringfence verify check`.\n\n" + sourceHelp + "\n\n" + codesHelp
}

type verifyCommand struct {
	sourceFlags
	File    string `short:"f" required:"" placeholder:"FILE" help:"Assertion file, or a reachability intent of Azure Virtual Network Manager; - reads standard input."`
	Against string `placeholder:"SOURCE" help:"Source to compare with: for assertions of the kind diff."`
	JUnit   string `name:"junit" placeholder:"FILE" help:"Write the results as JUnit XML too."`
	SARIF   string `name:"sarif" placeholder:"FILE" help:"Write the results as SARIF too."`
	Source  string `arg:"" optional:"" help:"Template, directory, export or terraform show -json; else the server."`
}

func (verifyCommand) Help() string {
	return "Assertions are about all packets, not about samples; docs/checks.md describes the file.\n\n" + sourceHelp + "\n\n" + codesHelp + `

Examples:
  ringfence verify -f checks.yaml template.json
  ringfence verify -f checks.yaml exports/ --junit results.xml --sarif results.sarif
  terraform show -json plan.tfplan | ringfence verify -f checks.yaml -
  ringfence verify -f checks.yaml new/ --against old/
  ringfence verify init template.json > checks.yaml`
}

// answered is what a verification found.
type answered struct {
	checks  *checks.File
	network *networkText
	results []verify.Result
}

func (c *verifyCommand) Run(a *app) error {
	file, err := a.checkFile(c.File)
	if err != nil {
		return err
	}
	memo := verify.NewMemo()
	n, err := c.network(a, c.Source, file, memo)
	if err != nil {
		return err
	}
	var old *offline.Network
	if c.Against != "" {
		if old, err = c.network(a, c.Against, file, memo); err != nil {
			return err
		}
	}
	results, wrong := n.Check(file.Checks, old)
	found := &answered{file, &networkText{n}, results}
	if err := c.write(a, found); err != nil {
		return err
	}
	if wrong != nil {
		reportBad(a.err, badInput{wrong})
	}
	bad := a.faulty(n, old) || wrong != nil
	is := func(s verify.Status) bool {
		return slices.ContainsFunc(results, func(r verify.Result) bool { return r.Status == s })
	}
	return proven(bad, is(verify.Violated), is(verify.Unknown))
}

// write prints the results as -o says, and into the files that were asked for.
func (c *verifyCommand) write(a *app, found *answered) error {
	for _, f := range []struct {
		name string
		text func(*answered) ([]byte, error)
	}{{c.JUnit, junitOf}, {c.SARIF, sarifOf}} {
		if f.name == "" {
			continue
		}
		text, err := f.text(found)
		if err == nil {
			err = a.writeFile(f.name, text)
		}
		if err != nil {
			return badInput{fmt.Errorf("write the results: %w", err)}
		}
	}
	if c.JUnit == "-" || c.SARIF == "-" {
		return nil
	}
	return a.formatted(found.value(), func() { found.text(newPainter(a.out)) }, func(format string) ([]byte, error) {
		if format == "junit" {
			return junitOf(found)
		}
		return sarifOf(found)
	})
}
