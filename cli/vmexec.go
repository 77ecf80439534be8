package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"time"

	"ringfence/host/sandbox"
)

type vmExec struct {
	Group   string   `short:"g" aliases:"resource-group" help:"Resource group, where the name alone is not unique."`
	Name    string   `arg:"" name:"machine" help:"Name of the virtual machine."`
	Command []string `arg:"" passthrough:"" help:"Command and its arguments."`
}

func (vmExec) Help() string {
	return "Where a name is not unique, -g and --subscription (or --as) say which is meant.\n\nExamples:\n  ringfence vm exec --subscription contoso web1 -- ping -c 1 10.0.2.4\n  ringfence vm exec -g shop --as fabrikam db1 -- ip address"
}

func (c *vmExec) Run(a *app) error {
	argv := command(c.Command)
	if len(argv) == 0 {
		return usagef("a command is missing: ringfence vm exec %s -- COMMAND", c.Name)
	}
	_, vm, err := a.anywhere(c.Group, c.Name)
	if err != nil {
		return err
	}
	boxes, err := a.boxes(a.ctx, text(vm, "id"), 0)
	if err != nil {
		return err
	}
	if len(boxes) == 0 {
		return fmt.Errorf("virtual machine %s: its sandbox is on no connected host", c.Name)
	}
	err = sandbox.Exec(boxes[0].spec(), argv)
	var missing *exec.Error
	if asError(err, &missing) {
		fmt.Fprintln(a.err, "ringfence:", err)
		return exitCode(127)
	}
	return err
}

// box is where one interface of a machine is on this computer, as the operator's socket says.
type box struct {
	Host     string `json:"host"`
	NIC      string `json:"nic"`
	Netns    string `json:"netns"`
	HostName string `json:"hostname"`
	Dir      string `json:"dir"`
	Ready    bool   `json:"ready"` // configured by DHCP
	Problem  string `json:"problem"`
}

func (b box) spec() sandbox.Spec {
	return sandbox.Spec{Namespace: b.Netns, Hostname: b.HostName, Dir: b.Dir}
}

// boxes asks the operator's socket of the lab where a machine's sandbox is: one box per interface. With patience it answers when all
// are configured, or when that time has passed.
func (a *app) boxes(ctx context.Context, id string, patience time.Duration) ([]box, error) {
	c, err := a.operatorSocket()
	if err != nil {
		return nil, err
	}
	path := "/ringfence/v1/sandboxes?id=" + url.QueryEscape(id)
	if patience > 0 {
		path += "&wait=" + patience.String()
	}
	ans, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	var list struct{ Value []box }
	if err := json.Unmarshal(ans.body, &list); err != nil {
		return nil, fmt.Errorf("read the sandboxes of %s: %w", id, err)
	}
	return list.Value, nil
}

// operatorSocket is the operator's own, whoever the commands speak as.
func (a *app) operatorSocket() (*client, error) {
	p, err := a.site()
	if err != nil {
		return nil, err
	}
	if p.socket == "" {
		return nil, fmt.Errorf("%s: this is asked of the operator's socket on the machine itself", p.what)
	}
	return socketClient(p.socket), nil
}
