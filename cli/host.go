package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
)

type hostCommands struct {
	List  hostList  `cmd:"" help:"List the hosts: their state, what they carry and what they have acknowledged."`
	Drain hostDrain `cmd:"" help:"Move all machines of a host elsewhere and give it no new ones."`
	Check hostCheck `cmd:"" help:"Read back what the hosts have loaded and prove it equal to their goals."`
	Fail  hostFail  `cmd:"" help:"Say that a host is gone: its machines are placed elsewhere at once."`

	Add    hostAdd    `cmd:"" help:"Make a token by which a new host joins."`
	Token  hostToken  `cmd:"" help:"Make a token by which a known host joins anew."`
	Remove hostRemove `cmd:"" help:"Take a host out of the inventory: its certificate opens nothing any more."`
}

type hostAdd struct {
	Name string `arg:"" help:"Name of the new host: 1 to 32 of a-z, 0-9 and -."`
	Life string `help:"How long the token is good." default:"1h"`
}

func (hostAdd) Help() string {
	return "The token is printed once; the store keeps a hash of it. It lets one machine in, once, and by it that machine knows the server.\n\nExample:\n  ringfence host add host2"
}

// joinAs is how a token is used.
const joinAs = "ringfence agent --join %s --server %s --underlay DEVICE"

func (c *hostAdd) Run(a *app) error {
	return a.token("/ringfence/v1/hosts/"+url.PathEscape(c.Name)+"/add", c.Life, joinAs)
}

type hostToken struct {
	Name string `arg:"" help:"Name of the host."`
	Life string `help:"How long the token is good." default:"1h"`
}

func (hostToken) Help() string {
	return "For a host whose certificate expired, or whose disk is new. When it joins, its old certificate opens nothing any more.\n\nExample:\n  ringfence host token host2"
}

func (c *hostToken) Run(a *app) error {
	return a.token("/ringfence/v1/hosts/"+url.PathEscape(c.Name)+"/token", c.Life, joinAs)
}

type hostRemove struct {
	Name string `arg:"" help:"Name of the host."`
}

func (hostRemove) Help() string {
	return "Only a host that carries no machines is removed: drain or fail it first.\n\nExample:\n  ringfence host remove host2"
}

func (c *hostRemove) Run(a *app) error {
	return a.operatorSend(http.MethodDelete, "/ringfence/v1/hosts/"+url.PathEscape(c.Name))
}

type hostList struct{}

func (hostList) Help() string {
	return `State: ready; draining, drained (by host drain); failed (by host fail, or because its agent was away for the server's heal_after). Clock: how far the host's is from the server's. Degraded: what is
not as it should be though the goal is enforced. Certificate: when it ends.

Examples:
  ringfence host list
  ringfence host list -o json --query "[?state!='ready'].{name: name, why: reason}"`
}

func (c *hostList) Run(a *app) error {
	return a.operatorList("/ringfence/v1/hosts", func(any) bool { return true }, func() error { return nil }, nameColumn, column{"State", "state"},
		column{"Connected", "connected"}, column{"VMs", "vms"}, column{"Capacity", "capacity"}, column{"Underlay", "underlay"}, column{"Version", "version"},
		column{"Generation", "generation"}, column{"Acknowledged", "acked"}, column{"Clock", "skew"}, column{"Certificate", "expires"},
		column{"Degraded", "join('; ', degraded || `[]`)"}, column{"Problem", "problem"})
}

type hostDrain struct {
	Host string `arg:"" help:"Name of the host."`
	Undo bool   `help:"Make the host ready again, also after host fail; machines that left it stay where they are."`
}

func (hostDrain) Help() string {
	return `A machine that moves is made anew elsewhere, with its names, addresses and MACs; what ran in its sandbox ends. They move four at a time, and the next when these are configured. The command
waits until all have left; interrupted, the servers go on. A machine whose tag ringfence-host names this host moves too, and returns when it is written again while the host is ready.

Examples:
  ringfence host drain host1
  ringfence host drain host1 --undo`
}

func (c *hostDrain) Run(a *app) error {
	if c.Undo {
		_, err := a.host(http.MethodPost, c.Host, "/undrain")
		return err
	}
	h, err := a.host(http.MethodPost, c.Host, "/drain")
	if err != nil {
		return err
	}
	stuck := 0
	for number(h, "vms") > 0 {
		a.progress.begin("host %s: %d machines have left, %d are on it", c.Host, len(list(h, "moves")), number(h, "vms"))
		if stuck++; text(h, "problem") == "" || text(h, "state") != "draining" {
			stuck = 0
		}
		if stuck > 10 || text(h, "state") == "ready" {
			break
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
		if h, err = a.host(http.MethodGet, c.Host, ""); err != nil {
			return err
		}
	}
	return a.printMoves(c.Host, h)
}

type hostFail struct {
	Host string `arg:"" help:"Name of the host."`
}

func (hostFail) Help() string {
	return `Nothing waits for the host: machines are placed elsewhere in one go, and the other hosts refuse what it still sends in their names. It takes no machines until
ringfence host drain HOST --undo.

Example:
  ringfence host fail host1`
}

func (c *hostFail) Run(a *app) error {
	h, err := a.host(http.MethodPost, c.Host, "/fail")
	if err != nil {
		return err
	}
	return a.printMoves(c.Host, h)
}

// host asks for one host, or decides about it.
func (a *app) host(method, name, action string) (any, error) {
	cl, err := a.operator()
	if err != nil {
		return nil, err
	}
	ans, err := cl.send(a.ctx, method, "/ringfence/v1/hosts/"+url.PathEscape(name)+action, nil)
	if err != nil {
		return nil, err
	}
	return decode(ans.body)
}

// printMoves shows where a host's machines went; machines that stay are an error.
func (a *app) printMoves(host string, h any) error {
	a.progress.done()
	rows := list(h, "moves")
	if cl, err := a.operator(); err == nil {
		nameSubscriptions(&session{client: cl, app: a}, rows)
	}
	if err := a.print(rows, column{"Subscription", "subscription"}, column{"VM", "vm"}, column{"From", "from"}, column{"To", "to"}, column{"Pinned", "pinned"}); err != nil {
		return err
	}
	if n := number(h, "vms"); n > 0 {
		why := text(h, "problem")
		if why == "" {
			why = "the host is " + text(h, "state")
		}
		return fmt.Errorf("host %s: %d of its machines stay and lose nothing: %s", host, n, why)
	}
	return nil
}

func list(v any, name string) []any {
	l, _ := at(v, name).([]any)
	return l
}

func number(v any, name string) int {
	n, _ := at(v, name).(float64)
	return int(n)
}
