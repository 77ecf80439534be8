// Package cni is a CNI 1.1 plugin: it attaches network interfaces of the fabric to containers.
//
// In: what a container runtime says by environment and standard input, as the CNI specification has it. Out: attachments that the
// host's agent makes and removes, and the result or the error that the runtime reads. Which attachment is whose stands in a record
// per attachment, written before anything is attached: whatever dies, a later DEL or GC finds it. The program owns nothing else.
package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"ringfence/host/agent/local"
)

// Program is the name by which runtimes call the plugin.
const Program = "ringfence-cni"

// versions of the specification that are spoken, oldest first.
var versions = []string{"0.4.0", "1.0.0", "1.1.0"}

// Codes of the specification, and one of our own.
const (
	codeVersion  = 1
	codeEnv      = 4
	codeIO       = 5
	codeDecode   = 6
	codeConfig   = 7
	codeTryAgain = 11
	codeAbsent   = 50  // STATUS: no ADD can be served
	codeChanged  = 100 // CHECK: the attachment is not what it was
)

// Error is what a runtime is told.
type Error struct {
	Version string `json:"cniVersion"`
	Code    int    `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

func (e *Error) Error() string { return e.Msg }

func fault(code int, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// agent is what the plugin needs of the host's agent.
type agent interface {
	Attach(ctx context.Context, a local.Attach) (local.Port, error)
	Detach(ctx context.Context, nic string, force bool) error
	Ports(ctx context.Context) ([]local.Port, error)
	Status(ctx context.Context) error
}

// world is what the plugin meets outside of itself.
type world struct {
	dial func(socket string) agent
	look func(netns, name string) (inside, error)
}

// patience bounds one call of a runtime.
const patience = 2 * time.Minute

// Main is one call: the environment, the configuration on in, the result or the error on out. It returns the exit code.
func Main(ctx context.Context, env func(string) string, in io.Reader, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := call(ctx, env, in, world{dial: func(socket string) agent { return local.Dial(socket) }, look: look})
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = fault(codeIO, "%v", err)
		}
		if e.Version == "" {
			e.Version = versions[len(versions)-1]
		}
		json.NewEncoder(out).Encode(e)
		return 1
	}
	if result != nil {
		if err := json.NewEncoder(out).Encode(result); err != nil {
			return 1
		}
	}
	return 0
}

func call(ctx context.Context, env func(string) string, in io.Reader, w world) (any, error) {
	b, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return nil, fault(codeIO, "read the configuration: %v", err)
	}
	command := env("CNI_COMMAND")
	if command == "VERSION" {
		return version(b)
	}
	c, err := parse(b)
	if err != nil {
		return nil, err
	}
	e, err := environment(command, env)
	if err == nil {
		p := &plugin{conf: c, env: e, agent: w.dial(c.Socket), look: w.look, store: store{dir: c.DataDir, network: c.Name}}
		var result any
		if result, err = p.do(ctx, command); err == nil {
			return result, nil
		}
	}
	var told *Error
	if !errors.As(err, &told) {
		told = fault(codeIO, "%v", err)
	}
	told.Version = c.Version
	return nil, told
}

// plugin is one call with everything known.
type plugin struct {
	conf  *config
	env   invocation
	agent agent
	look  func(netns, name string) (inside, error)
	store store
}

func (p *plugin) do(ctx context.Context, command string) (any, error) {
	switch command {
	case "ADD":
		return p.add(ctx)
	case "DEL":
		return nil, p.del(ctx)
	case "CHECK":
		return nil, p.check(ctx)
	case "GC":
		return nil, p.collect(ctx)
	case "STATUS":
		return nil, p.status(ctx)
	}
	return nil, fault(codeEnv, "CNI_COMMAND %q: ADD, DEL, CHECK, GC, STATUS or VERSION expected", command)
}

// version answers which versions are spoken.
func version(in []byte) (any, error) {
	var asked struct {
		Version string `json:"cniVersion"`
	}
	if err := json.Unmarshal(in, &asked); err != nil && len(in) > 0 {
		return nil, fault(codeDecode, "decode the configuration: %v", err)
	}
	if asked.Version == "" {
		asked.Version = versions[len(versions)-1]
	}
	return map[string]any{"cniVersion": asked.Version, "supportedVersions": versions}, nil
}

// invocation is what the environment says.
type invocation struct {
	container, netns, device string
	args                     map[string]string
}

var containerForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// environment reads what each command needs; GC and STATUS are about no container.
func environment(command string, env func(string) string) (invocation, error) {
	e := invocation{container: env("CNI_CONTAINERID"), netns: env("CNI_NETNS"), device: env("CNI_IFNAME"), args: map[string]string{}}
	for pair := range strings.SplitSeq(env("CNI_ARGS"), ";") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return e, fault(codeEnv, "CNI_ARGS: %q is no NAME=VALUE", pair)
		}
		e.args[name] = value
	}
	if command == "GC" || command == "STATUS" {
		return e, nil
	}
	var faults []string
	if !containerForm.MatchString(e.container) || len(e.container) > 200 {
		faults = append(faults, fmt.Sprintf("CNI_CONTAINERID %q: letters, digits, _ . and - expected, at most 200", e.container))
	}
	if e.device == "" || len(e.device) > 15 || e.device == "." || e.device == ".." || strings.ContainsAny(e.device, "/: \t\n") {
		faults = append(faults, fmt.Sprintf("CNI_IFNAME %q: the name of a device expected", e.device))
	}
	if e.netns == "" && command != "DEL" {
		faults = append(faults, "CNI_NETNS: the path of a network namespace expected")
	}
	if faults != nil {
		return e, fault(codeEnv, "%s", strings.Join(faults, "; "))
	}
	return e, nil
}

// status says whether an ADD could be served.
func (p *plugin) status(ctx context.Context) error {
	if err := p.agent.Status(ctx); err != nil {
		return fault(codeAbsent, "the host's agent cannot attach: %v", err)
	}
	return nil
}

// collect removes the attachments of this network that the runtime does not know any more.
func (p *plugin) collect(ctx context.Context) error {
	records, err := p.store.list()
	if err != nil {
		return err
	}
	var faults []error
	for _, r := range records {
		if slices.Contains(p.conf.Valid, attachment{r.Container, r.Device}) {
			continue
		}
		if err := p.release(ctx, r); err != nil {
			faults = append(faults, fmt.Errorf("%s %s: %w", r.Container, r.Device, err))
		}
	}
	return errors.Join(faults...)
}
