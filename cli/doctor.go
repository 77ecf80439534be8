package cli

import (
	"fmt"
	"net/http"

	"ringfence/host/agent"
	"ringfence/observe"
)

type doctorCommand struct{}

func (doctorCommand) Help() string {
	return `One line per finding: state (ok, warn, fail), where, what, and its cure. Looked at are the server (ready, disk, certificates, the cluster's members, audit log), the store (time of a read, size against its quota), and every
host: version and clock against the server's, kernel, MTU of the underlay, forwarding of the host's own stack, pins and links of every port, what its services answered, disk, age of the last goal and of its
acknowledgement. The exit code is 1 when anything fails.

Examples:
  ringfence doctor
  ringfence doctor --lab staging -o json --query "[?state!='ok']"`
}

func (c *doctorCommand) Run(a *app) error {
	found, err := a.findings()
	if err != nil {
		return err
	}
	columns := []column{{"State", "state"}, {"Where", "where"}, {"Topic", "topic"}, {"What", "what"}, {"Cure", "cure"}}
	if err := a.print(found, columns...); err != nil {
		return err
	}
	for _, f := range found {
		if text(f, "state") == string(observe.Fail) {
			return exitCode(exitError)
		}
	}
	return nil
}

// findings are the server's, or why there are none.
func (a *app) findings() ([]any, error) {
	if a.flags.As != "" {
		return nil, usagef("--as %s: this is the operator's, a tenant cannot see it", a.flags.As)
	}
	cl, err := a.operator()
	if err != nil {
		return unanswered(err, "bring up what is meant: ringfence lab up, or systemctl start ringfence"), nil
	}
	ans, err := cl.send(a.ctx, http.MethodGet, "/ringfence/v1/doctor", nil)
	if err != nil {
		return unanswered(err, "start the server, or look at its log; hosts keep what they enforce meanwhile"), nil
	}
	v, err := decode(ans.body)
	if err != nil {
		return nil, err
	}
	found, ok := at(v, "value").([]any)
	if !ok {
		return nil, fmt.Errorf("the server's answer has no findings")
	}
	return found, nil
}

// unanswered is what can be said without a server: that, and whether this machine could be a host.
func unanswered(err error, cure string) []any {
	kernel := agent.Kernel()
	kernel.Where = "here"
	found, _ := generic([]observe.Finding{{State: observe.Fail, Where: "server", Topic: "answer", What: err.Error(), Cure: cure}, kernel}).([]any)
	return found
}
