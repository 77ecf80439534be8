package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"ringfence/cli/checks"
	"ringfence/cli/offline"
	"ringfence/intent/load"
	"ringfence/intent/template"
	"ringfence/verify"
)

// Exit codes of the commands that prove something.
const (
	exitViolated = 1
	exitUnknown  = 2
	exitBadInput = 3
)

// badInput is what a proof cannot be made of.
type badInput struct{ error }

func (e badInput) Unwrap() error { return e.error }

// Bounds of a directory.
const (
	mostFiles = 20000
	mostBytes = 1 << 30
)

// serverName stands for the server among the files.
const serverName = "server"

// sourceFlags say how a source is read.
type sourceFlags struct {
	Parameters []string `short:"p" sep:"none" placeholder:"NAME=VALUE" help:"Parameters of a template: name=value, name=@file, @file or a parameter file's path; several may follow."`
	Group      string   `short:"g" aliases:"resource-group" help:"Resource group that a template is taken to be deployed to; with --subscription ID its resources have the ids of those that are there."`
	PrefixList []string `sep:"none" placeholder:"TAG=PREFIX,…" help:"Contents of a service tag."`
}

// read reads a source: a file, a directory, standard input as -, or, for none, the server.
func (f *sourceFlags) read(a *app, source string, c *checks.File) (*load.Source, error) {
	options, err := f.options(a, source, c)
	if err != nil {
		return nil, err
	}
	files, err := a.sourceFiles(source)
	if err != nil {
		return nil, badInput{err}
	}
	return load.Load(files, options), nil
}

func (f *sourceFlags) options(a *app, source string, c *checks.File) (load.Options, error) {
	o := load.Options{PrefixLists: map[string][]netip.Prefix{}, Group: f.Group}
	if isGUID(a.flags.Subscription) {
		o.Subscription = a.flags.Subscription
	}
	for _, text := range f.PrefixList {
		name, list, ok := strings.Cut(text, "=")
		if !ok {
			return o, badInput{fmt.Errorf("--prefix-list %q: expected TAG=PREFIX,PREFIX", text)}
		}
		for _, p := range strings.Split(list, ",") {
			prefix, err := netip.ParsePrefix(strings.TrimSpace(p))
			if err != nil {
				return o, badInput{fmt.Errorf("--prefix-list %s: %w", name, err)}
			}
			o.PrefixLists[name] = append(o.PrefixLists[name], prefix.Masked())
		}
	}
	if c != nil {
		for name, list := range c.Tags {
			o.PrefixLists[name] = list
		}
		o.Machines = c.Machines
	}
	if len(f.Parameters) == 0 {
		return o, nil
	}
	text, err := a.readFile(source)
	if err != nil {
		return o, badInput{fmt.Errorf("-p goes with a template: %w", err)}
	}
	t, err := template.Parse(text)
	if err != nil {
		return o, badInput{templateError(source, err)}
	}
	d := deployCommand{Parameters: f.Parameters}
	if o.Parameters, err = d.values(a, t); err != nil {
		return o, badInput{err}
	}
	return o, nil
}

// sourceFiles are the files of a source.
func (a *app) sourceFiles(source string) ([]load.File, error) {
	switch source {
	case "":
		return a.serverFiles()
	case "-":
		text, err := readAll(a.in)
		return []load.File{{Name: "standard input", Text: text}}, err
	}
	info, err := os.Stat(source)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return directory(source)
	}
	file, err := readBounded(source, mostBytes)
	return []load.File{file}, err
}

// directory reads the JSON files of a directory and of those below it, hidden ones left out, in the order of their names.
func directory(root string) ([]load.File, error) {
	var files []load.File
	left := int64(mostBytes)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || !strings.EqualFold(filepath.Ext(path), ".json") || strings.HasPrefix(d.Name(), "."):
			return nil
		case len(files) == mostFiles:
			return fmt.Errorf("%s holds more than %d JSON files", root, mostFiles)
		}
		f, err := readBounded(path, left)
		if err != nil {
			return err
		}
		left -= int64(len(f.Text))
		files = append(files, f)
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s holds no JSON file", root)
	}
	return files, err
}

func readBounded(path string, limit int64) (load.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return load.File{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return load.File{}, err
	}
	if int64(len(text)) > limit {
		return load.File{}, fmt.Errorf("%s: the files have more than %d bytes together", path, int64(mostBytes))
	}
	return load.File{Name: path, Text: text}, nil
}

// serverFiles asks the server for everything that a subscription has, as a client like any other.
func (a *app) serverFiles() ([]load.File, error) {
	s, err := a.connect()
	if err != nil {
		return nil, fmt.Errorf("no SOURCE was given, and the server cannot be asked: %w", err)
	}
	var files []load.File
	for _, typ := range []string{vnetType, nsgType, asgType, nicType, vmType} {
		list, err := s.list("/subscriptions/" + s.subscription + "/providers/" + typ)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		files = append(files, load.File{Name: serverName, Text: text})
	}
	return files, nil
}

// network reads and compiles a source, and says on standard error what could not be read.
func (f *sourceFlags) network(a *app, source string, c *checks.File, memo *verify.Memo) (*offline.Network, error) {
	s, err := f.read(a, source, c)
	if err != nil {
		return nil, err
	}
	n, err := offline.New(s, memo)
	if err != nil {
		return nil, badInput{err}
	}
	return n, nil
}

// faulty says what of the sources could not be read; what was found in the rest stands.
func (a *app) faulty(networks ...*offline.Network) bool {
	any := false
	for _, n := range networks {
		if n == nil {
			continue
		}
		for _, f := range n.Source.Faults {
			fmt.Fprintln(a.err, "ringfence:", f.Error())
			any = true
		}
	}
	return any
}

// checkFile reads an assertion file.
func (a *app) checkFile(name string) (*checks.File, error) {
	text, err := a.readFile(name)
	if err != nil {
		return nil, badInput{fmt.Errorf("read the checks: %w", err)}
	}
	c, err := checks.Read(name, text)
	if err != nil {
		return nil, badInput{err}
	}
	return c, nil
}

// proven is the exit code of what was found.
func proven(bad, violated, unknown bool) error {
	switch {
	case bad:
		return exitCode(exitBadInput)
	case violated:
		return exitCode(exitViolated)
	case unknown:
		return exitCode(exitUnknown)
	}
	return nil
}

// reportBad prints what a proof could not be made of; false for other errors.
func reportBad(w io.Writer, err error) bool {
	var bad badInput
	if !errors.As(err, &bad) {
		return false
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintln(w, "ringfence:", line)
	}
	return true
}
