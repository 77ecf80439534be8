// Package cli is the command line: it turns words into requests to the API and answers into text.
//
// In: arguments, the environment and a running lab or endpoint. Out: tables, JSON or YAML on standard output, errors with Azure's
// code and message on standard error, and an exit code. It speaks to the control plane only through the ARM API and the
// operator's routes; the words of commands follow the az command line.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"ringfence/intent/resource"
	"ringfence/lab"
)

// Exit codes.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitNotFound = 3
)

// Programs are the long-lived programs that the binary also holds; main wires them.
type Programs struct {
	Server func(ctx context.Context, config string) error
	Agent  func(ctx context.Context, config string) error

	// Services is the process that an agent starts for what is served to VMs.
	Services func(ctx context.Context, dir, host, namespace, level string) error

	// Restore makes the store of a backup where a server's configuration says; CheckBackup reads one and says what it is.
	Restore     func(ctx context.Context, config string, backup io.Reader) error
	CheckBackup func(backup io.Reader) (any, error)
}

// app is what a command runs with.
type app struct {
	ctx      context.Context
	flags    *globals
	programs Programs
	in       io.Reader
	out, err io.Writer
	progress *progress
	defaults string // output format of the command when -o is not given
}

// globals are the flags that every command knows.
type globals struct {
	Lab          string `name:"lab" env:"RINGFENCE_LAB" help:"Lab to speak to; without it the lab named lab, or this machine's installation where that runs." group:"global"`
	Endpoint     string `env:"RINGFENCE_ENDPOINT" help:"API to speak to instead of a lab's: https://HOST:PORT or unix:PATH." group:"global"`
	Token        string `env:"RINGFENCE_TOKEN" help:"Tenant's token for the endpoint." group:"global"`
	CA           string `name:"ca" env:"RINGFENCE_CA" help:"File with the certificate to trust the endpoint by." group:"global"`
	Subscription string `env:"RINGFENCE_SUBSCRIPTION" help:"Subscription: its id or its name." group:"global"`
	As           string `env:"RINGFENCE_AS" placeholder:"TENANT" help:"Speak as this tenant, with its token over TLS, not as the operator." group:"global"`
	Output       string `short:"o" enum:"table,json,jsonc,yaml,yamlc,tsv,none,junit,sarif," default:"" help:"Output format: table, json, yaml, tsv or none (jsonc and yamlc as json and yaml); of verify also junit and sarif, of lint also sarif." group:"global"`
	Query        string `placeholder:"JMESPATH" help:"Print only this part of the answer." group:"global"`
}

type commands struct {
	globals
	kong.Plugins

	LabCmd   labCommands        `cmd:"" name:"lab" help:"Bring a lab up and down: hosts, an Internet and the control plane on this machine."`
	Group    groupCommands      `cmd:"" help:"Resource groups."`
	Deploy   deployCommand      `cmd:"" help:"Deploy an ARM template to a resource group."`
	Deploys  deploymentCommands `cmd:"" name:"deployment" help:"Deployments that were made."`
	VM       vmCommands         `cmd:"" name:"vm" help:"Virtual machines: sandboxes on the hosts."`
	Network  networkCommands    `cmd:"" help:"Virtual networks, security groups and network interfaces."`
	Rest     restCommand        `cmd:"" help:"Send one request to the API."`
	Dump     dumpCommands       `cmd:"" help:"Show what was computed for a host."`
	Drops    dropsCommand       `cmd:"" help:"Show dropped packets by reason."`
	Capture  captureCommand     `cmd:"" help:"Capture the packets of a virtual machine, with what became of each."`
	Trace    traceCommand       `cmd:"" help:"Show what would become of a packet, layer by layer, without sending one."`
	Flows    flowsCommand       `cmd:"" help:"Show the flows that the hosts remember."`
	Traffic  trafficCommand     `cmd:"" help:"Show what each machine sent and received."`
	Port     portCommands       `cmd:"" help:"Network interfaces of what is no virtual machine of ours: taps and namespaces on this host."`
	Host     hostCommands       `cmd:"" help:"Hosts of the fabric."`
	Verify   verifyCommands     `cmd:"" help:"Prove assertions about all packets, before anything is deployed."`
	Diff     diffCommand        `cmd:"" help:"Show exactly which packets a change allows and denies."`
	Lint     lintCommand        `cmd:"" help:"Find security rules that do not do what they seem to do."`
	Explain  explainCommand     `cmd:"" help:"Show what becomes of packets from one place to another, and why."`
	Demo     demoCommand        `cmd:"" help:"Deploy the three-tier example for two tenants and check it with real packets."`
	Env      envCommands        `cmd:"" help:"Print what a client needs to work here: eval \"$(ringfence env terraform)\"."`
	AD       adCommands         `cmd:"" name:"ad" help:"Service principals: applications with a secret."`
	Role     roleCommands       `cmd:"" help:"Who may do what at which scope."`
	Monitor  monitorCommands    `cmd:"" help:"The audit log: who changed what."`
	Doctor   doctorCommand      `cmd:"" help:"Look at the control plane and every host, and say what is wrong and its cure."`
	Backup   backupCommand      `cmd:"" help:"Write everything that is stored to a file, while the server works."`
	Restore  restoreCommand     `cmd:"" help:"Make the store of a backup in an empty data directory, while the server is stopped."`
	Up       upCommand          `cmd:"" help:"Run control plane and agent on this machine."`
	Server   serverCommands     `cmd:"" help:"Run the control plane; its servers."`
	Agent    agentCommand       `cmd:"" help:"Run a host's agent, or join as a host."`
	Services servicesCommand    `cmd:"" hidden:"" help:"Serve VMs: started by an agent."`
	Words    completionCommand  `cmd:"" name:"completion" help:"Print a script that completes the words of commands in bash, zsh or fish."`
	Man      manCommand         `cmd:"" help:"Write the manual pages."`
	Version  versionCommand     `cmd:"" help:"Show the version."`
	Probe    probeCommand       `cmd:"" hidden:"" help:"Send and answer test traffic inside a namespace."`
}

// newCommands gives the types of the table that have no commands of their own the general ones.
func newCommands(types []*resource.Type) *commands {
	written := map[string]bool{resource.GroupType: true, vmType: true}
	for name := range commandWords {
		written[name] = true
	}
	c := &commands{}
	root := places(types, written)
	c.Network.Plugins, c.VM.Plugins = root.at("network").commands(), root.at("vm").commands()
	root.below = slices.DeleteFunc(root.below, func(p *place) bool { return p.word == "network" || p.word == "vm" })
	c.Plugins = root.commands()
	return c
}

// Main runs a command line and returns the exit code.
func Main(args []string, programs Programs) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, programs, os.Stdin, os.Stdout, os.Stderr)
}

func run(ctx context.Context, args []string, programs Programs, in io.Reader, out, errOut io.Writer) int {
	c := newCommands(resource.Types())
	exit := -1
	parser, err := kong.New(c, options(out, errOut, func(code int) { exit = code; panic(exited{}) })...)
	if err != nil {
		fmt.Fprintln(errOut, "ringfence:", err)
		return exitError
	}
	k, err := parse(parser, gather(args))
	switch {
	case exit >= 0:
		return exit
	case err != nil:
		if proves(args) {
			usage(errOut, err)
			return exitBadInput
		}
		return usage(errOut, err)
	}
	a := &app{ctx: ctx, flags: &c.globals, programs: programs, in: in, out: out, err: errOut, progress: newProgress(errOut)}
	err = k.Run(a)
	a.progress.done()
	if err != nil && proves(args) {
		var code exitCode
		if !errors.As(err, &code) && !reportBad(errOut, err) {
			report(errOut, err)
		}
		return int(cmp.Or(code, exitBadInput))
	}
	return report(errOut, err)
}

// proves says whether the words are of a command whose exit codes tell what was proved: there 2 is no fault of the words.
func proves(args []string) bool {
	return len(args) > 0 && slices.Contains([]string{"verify", "diff", "lint", "explain"}, args[0])
}

func options(out, errOut io.Writer, exit func(int)) []kong.Option {
	return []kong.Option{
		kong.Name("ringfence"),
		kong.Description("Azure's virtual-network security on Linux hosts.\n\nBegin with `ringfence lab up`, or see it all at once with `ringfence demo`."),
		kong.Writers(out, errOut),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{{Key: "global", Title: "Flags of every command:"}}),
	}
}

// exited unwinds kong after it has printed a help text.
type exited struct{}

func parse(parser *kong.Kong, args []string) (k *kong.Context, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exited); !ok {
				panic(r)
			}
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	return parser.Parse(args)
}

// usage prints what was wrong with the words, and where help is.
func usage(w io.Writer, err error) int {
	fmt.Fprintln(w, "ringfence:", err)
	var p *kong.ParseError
	words := "ringfence"
	if errors.As(err, &p) && p.Context != nil {
		for _, t := range p.Context.Path {
			if t.Command != nil {
				words += " " + t.Command.Name
			}
		}
	}
	fmt.Fprintf(w, "See `%s --help`.\n", words)
	return exitUsage
}

// usageError is a fault of the words that only the command itself can see.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode carries the code of a command that was run in a sandbox or node.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints an error and gives the exit code.
func report(w io.Writer, err error) int {
	var (
		wrong usageError
		api   *apiError
		code  exitCode
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &wrong):
		fmt.Fprintln(w, "ringfence:", err)
		return exitUsage
	case errors.As(err, &api):
		if errText, apiText := err.Error(), api.Error(); errText == apiText {
			fmt.Fprintln(w, api.text())
		} else { // said by whom or about what
			fmt.Fprintln(w, "ringfence:", errText)
		}
		if api.Status == 404 {
			return exitNotFound
		}
		return exitError
	case errors.Is(err, errNotFound):
		fmt.Fprintln(w, "ringfence:", err)
		return exitNotFound
	}
	fmt.Fprintln(w, "ringfence:", err)
	return exitError
}

var errNotFound = errors.New("not found")

// listFlags take several values, as az's do: --asgs a b c.
var listFlags = []string{"--asgs", "-p", "--parameters", "--private-ip-address", "--address-prefixes", "--dns-servers", "--subnet-prefixes",
	"--source-address-prefixes", "--destination-address-prefixes", "--source-port-ranges", "--destination-port-ranges", "--source-asgs", "--destination-asgs", "--tags"}

// gather repeats such a flag before each of its values.
func gather(args []string) []string {
	var out []string
	flag := ""
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		isFlag := strings.HasPrefix(a, "-") && a != "-"
		switch {
		case isFlag:
			flag = ""
			for _, f := range listFlags {
				if a == f {
					flag = f
				}
			}
			if flag == "" {
				out = append(out, a)
			}
		case flag != "":
			out = append(out, flag, a)
		default:
			out = append(out, a)
		}
	}
	return out
}

// state loads the lab that the flags name.
func (a *app) state() (*lab.State, error) { return lab.Load(a.flags.Lab) }
