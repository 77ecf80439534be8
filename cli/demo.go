package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/cli/checks"
	"ringfence/cli/matrix"
	"ringfence/cli/offline"
	"ringfence/examples"
	"ringfence/intent/load"
	"ringfence/intent/template"
	"ringfence/lab"
	"ringfence/verify"
)

type demoCommand struct {
	Keep       bool          `env:"KEEP" help:"Leave the lab running."`
	All        bool          `help:"Print every cell of the matrix, not only differences."`
	Name       string        `default:"demo" help:"Name of the lab; one of that name is replaced."`
	Timeout    time.Duration `default:"2s" help:"How long a packet's answer is waited for."`
	Template   string        `type:"existingfile" help:"Another template than the three-tier one; it makes one virtual network."`
	Parameters string        `type:"existingfile" help:"Its parameter file."`
	Machines   string        `type:"existingfile" help:"Machines to create, as in examples/three-tier/machines.txt."`
	Expected   string        `type:"existingfile" help:"What gets through, as in examples/three-tier/expected.txt."`
}

func (demoCommand) Help() string {
	return `Brings a lab of two hosts, an Internet and the control plane up, deploys the three-tier example for two tenants with the same addresses,
creates their machines and sends real packets between all of them, all at once. Prints what got through, what the goal's model says and what
was written down by hand from Azure's rules; fails when one cell differs or was not measured.

The same check works for a template of yours: --template with --machines and --expected.

Examples:
  ringfence demo
  ringfence demo --keep --all
  ringfence demo --template hub.json --machines machines.txt --expected expected.txt`
}

// demo is one run.
type demo struct {
	*app
	*example
	c       *demoCommand
	state   *lab.State
	vnet    string // the virtual network that the template makes
	tenants map[string]*session
	steps   []step
	all     []placed
}

// step is how long a part took.
type step struct {
	name string
	took time.Duration
}

// placed is a machine of a tenant in its sandbox.
type placed struct {
	matrix.Machine
	tenant, id string
	box        box
}

const demoGroup = "demo"

func (c *demoCommand) Run(a *app) (err error) {
	d := &demo{app: a, c: c, tenants: map[string]*session{}}
	if d.example, err = c.example(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the demonstration needs root: it makes network namespaces and loads eBPF programs")
	}
	a.flags.Lab, a.flags.As, a.flags.Endpoint = c.Name, "", ""
	began := time.Now()
	if !c.Keep {
		defer func() { err = errors.Join(err, d.down()) }()
	}
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"prove the assertions of checks.yaml, about all packets", d.prove},
		{"bring up two hosts, an Internet and the control plane", d.up},
		{"deploy the template for both tenants", d.deploy},
		{"create the machines", d.create},
		{"wait until the machines have their addresses", d.configured},
	} {
		if err := d.step(s.name, s.do); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	cells, err := d.measure()
	if err != nil {
		return err
	}
	return d.conclude(cells, began)
}

// step runs a part and notes how long it took.
func (d *demo) step(name string, do func(context.Context) error) error {
	d.progress.begin("%s", name)
	began := time.Now()
	err := do(d.ctx)
	took := time.Since(began)
	d.steps = append(d.steps, step{name, took})
	d.progress.done()
	if err == nil {
		fmt.Fprintf(d.out, "%7.2f s  %s\n", took.Seconds(), name)
	}
	return err
}

// example is what a run deploys, creates and expects.
type example struct {
	template []byte
	values   map[string]json.RawMessage
	machines []matrix.Machine
	expected *matrix.Expectations
}

// example reads the files that the flags name, else those of the three-tier example that the program carries.
func (c *demoCommand) example() (*example, error) {
	if own := c.Template != ""; own != (c.Machines != "") || own != (c.Expected != "") || !own && c.Parameters != "" {
		return nil, usagef("--template, --machines and --expected belong together")
	}
	e := &example{}
	var texts [4][]byte
	for i, f := range []struct{ given, name string }{{c.Template, "template.json"}, {c.Parameters, "parameters.json"}, {c.Machines, "machines.txt"}, {c.Expected, "expected.txt"}} {
		var err error
		switch {
		case f.given != "":
			texts[i], err = os.ReadFile(f.given)
		case c.Template == "":
			texts[i], err = fs.ReadFile(examples.ThreeTier, "three-tier/"+f.name)
		}
		if err != nil {
			return nil, err
		}
	}
	t, err := template.Parse(texts[0])
	if err != nil {
		return nil, templateError("template", err)
	}
	e.template = t.Strict()
	if e.values, err = template.Values(texts[1]); err != nil {
		return nil, templateError("parameters", err)
	}
	if e.machines, err = matrix.ParseMachines(string(texts[2]), "contoso", "fabrikam"); err != nil {
		return nil, fmt.Errorf("machines: %w", err)
	}
	if e.expected, err = matrix.ParseExpected(string(texts[3])); err != nil {
		return nil, fmt.Errorf("expectations: %w", err)
	}
	return e, nil
}

// prove answers the assertions of the example before anything is deployed; a template of the user's own has its own `ringfence verify`.
func (d *demo) prove(context.Context) error {
	if d.c.Template != "" {
		return nil
	}
	text, err := fs.ReadFile(examples.ThreeTier, "three-tier/checks.yaml")
	if err != nil {
		return err
	}
	file, err := checks.Read("checks.yaml", text)
	if err != nil {
		return err
	}
	source := load.Load([]load.File{{Name: "template.json", Text: d.template}}, load.Options{Parameters: d.values, Machines: file.Machines})
	n, err := offline.New(source, nil)
	if err != nil {
		return err
	}
	results, err := n.Check(file.Checks, nil)
	if err != nil {
		return err
	}
	for _, f := range source.Faults {
		return f
	}
	for _, r := range results {
		if r.Status != verify.Holds {
			return fmt.Errorf("%s: %s: %s", r.ID, r.Status, r.Text)
		}
	}
	return nil
}

func (d *demo) up(ctx context.Context) error {
	names, err := lab.Names()
	if err != nil {
		return err
	}
	if slices.Contains(names, d.c.Name) {
		if err := lab.Down(ctx, d.c.Name); err != nil {
			return err
		}
	}
	d.state, err = lab.Up(ctx, lab.Config{Name: d.c.Name, Hosts: 2, Progress: func(s string) { d.progress.begin("%s", s) }})
	return err
}

// down removes the lab, also when the run was interrupted.
func (d *demo) down() error {
	d.progress.begin("removing the lab")
	defer d.progress.done()
	ctx, stop := context.WithTimeout(context.WithoutCancel(d.ctx), 30*time.Second)
	defer stop()
	return lab.Down(ctx, d.c.Name)
}

// both runs something for every tenant at the same time.
func (d *demo) both(do func(tenant string) error) error {
	var work sync.WaitGroup
	faults := make([]error, len(d.state.Tenants))
	for i, t := range d.state.Tenants {
		work.Go(func() {
			if err := do(t.Name); err != nil {
				faults[i] = fmt.Errorf("%s: %w", t.Name, err)
			}
		})
	}
	work.Wait()
	return errors.Join(faults...)
}

// deploy speaks as each tenant, with its token over TLS.
func (d *demo) deploy(context.Context) error {
	for _, t := range d.state.Tenants {
		c, err := tlsClient(d.state.Endpoint, d.state.CA, t.Token)
		if err != nil {
			return err
		}
		d.tenants[t.Name] = &session{client: c, app: d.app, subscription: t.Subscription}
	}
	return d.both(func(tenant string) error {
		s := d.tenants[tenant]
		if _, err := s.put(s.groupPath(demoGroup), map[string]any{"location": defaultLocation}, true); err != nil {
			return err
		}
		body, err := deploymentBody(d.template, d.values)
		if err != nil {
			return err
		}
		_, err = s.putRaw(s.path(demoGroup, deploymentType, "demo"), body, true)
		return err
	})
}

// findVNet finds the one virtual network that the template has made.
func (d *demo) findVNet() error {
	vnets, err := d.tenants[d.state.Tenants[0].Name].list(d.tenants[d.state.Tenants[0].Name].path(demoGroup, vnetType))
	if err != nil {
		return err
	}
	if len(vnets) != 1 {
		return fmt.Errorf("the template makes %d virtual networks, expected one", len(vnets))
	}
	d.vnet = text(vnets[0], "name")
	return nil
}

// create makes every machine at the same time: its interface, then itself.
func (d *demo) create(context.Context) error {
	if err := d.findVNet(); err != nil {
		return err
	}
	for _, t := range d.state.Tenants {
		for _, m := range d.machines {
			if m.Hosts[t.Name] != "" {
				s := d.tenants[t.Name]
				d.all = append(d.all, placed{Machine: m, tenant: t.Name, id: s.id(demoGroup, vmType, m.Name)})
			}
		}
	}
	return d.each(func(p *placed) error {
		s := d.tenants[p.tenant]
		flags := nicFlags{VNet: d.vnet, Subnet: p.Subnet}
		for _, ip := range p.Addresses {
			flags.Address = append(flags.Address, ip.String())
		}
		if p.ASG != "" {
			flags.ASGs = []string{p.ASG}
		}
		nic, err := flags.body(s, demoGroup, defaultLocation)
		if err != nil {
			return err
		}
		if _, err := s.put(s.path(demoGroup, nicType, p.Name+"-nic"), nic, true); err != nil {
			return err
		}
		vm := vmCreate{Group: demoGroup, Name: p.Name, Host: p.Hosts[p.tenant], Size: "Standard_B1s"}
		_, err = s.put(s.path(demoGroup, vmType, p.Name), vm.body(s, defaultLocation), true)
		return err
	})
}

// each runs something for every machine at the same time.
func (d *demo) each(do func(*placed) error) error {
	var work sync.WaitGroup
	faults := make([]error, len(d.all))
	for i := range d.all {
		work.Go(func() {
			if err := do(&d.all[i]); err != nil {
				faults[i] = fmt.Errorf("%s of %s: %w", d.all[i].Name, d.all[i].tenant, err)
			}
		})
	}
	work.Wait()
	return errors.Join(faults...)
}

func (d *demo) configured(ctx context.Context) error {
	return d.each(func(p *placed) error {
		boxes, err := d.boxes(ctx, p.id, 20*time.Second)
		if err != nil {
			return err
		}
		if len(boxes) != 1 {
			return fmt.Errorf("%d sandboxes, expected one", len(boxes))
		}
		if !boxes[0].Ready {
			return fmt.Errorf("not configured: %s", boxes[0].Problem)
		}
		if boxes[0].Host != p.Hosts[p.tenant] {
			return fmt.Errorf("is on %s, expected %s", boxes[0].Host, p.Hosts[p.tenant])
		}
		p.box = boxes[0]
		return nil
	})
}

// conclude prints the matrix and how long everything took.
func (d *demo) conclude(cells []matrix.Cell, began time.Time) error {
	if d.structured() {
		if err := d.print(generic(cells)); err != nil {
			return err
		}
	}
	bad, err := matrix.Print(d.out, d.expected, cells, d.c.All)
	if err != nil {
		return err
	}
	through := 0
	for i := range cells {
		if cells[i].Got == matrix.Yes {
			through++
		}
	}
	var parts []string
	for _, s := range d.steps {
		parts = append(parts, fmt.Sprintf("%.2f", s.took.Seconds()))
	}
	fmt.Fprintf(d.out, "\n%d cells measured: %d got through, %d did not; %d differ.\n", len(cells), through, len(cells)-through, bad)
	fmt.Fprintf(d.out, "%.2f s in all (%s).\n", time.Since(began).Seconds(), strings.Join(parts, " + "))
	if d.c.Keep {
		fmt.Fprintf(d.out, "\nThe lab stays up. Try:\n  ringfence --lab %s vm list --as contoso\n  ringfence --lab %s vm exec --as contoso %s -- ip address\n  ringfence --lab %s lab down\n",
			d.c.Name, d.c.Name, d.machines[0].Name, d.c.Name)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d cells are not as expected", bad, len(cells))
	}
	return nil
}

// goals reads what every host enforces.
func (d *demo) goalText(ctx context.Context, host string) (json.RawMessage, error) {
	c := socketClient(d.state.Socket)
	ans, err := c.send(ctx, "GET", "/ringfence/v1/goal/"+host+"?format=json", nil)
	if err != nil {
		return nil, err
	}
	return ans.body, nil
}
