package cli

import (
	"fmt"
	"net/http"
	"net/url"
)

type hostCheck struct {
	Host string `arg:"" optional:"" help:"Name of the host; all hosts without it."`
}

func (hostCheck) Help() string {
	return `Every table that the packets of a host meet is read back from the kernel, decoded and compared with the host's goal at every point: ports, endpoints, each virtual network's addresses, each security group's rules. What is
equal is equal for all packets. A difference is shown with both sides, and made anew at once. The agents do the same to what every write touches before they acknowledge it, and to one table every five seconds.

The exit code is 1 when something differed or a host did not answer.

Examples:
  ringfence host check
  ringfence host check host1 -o json`
}

func (c *hostCheck) Run(a *app) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	path := "/ringfence/v1/check"
	if c.Host != "" {
		path += "?" + url.Values{"host": {c.Host}}.Encode()
	}
	ans, err := cl.send(a.ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	v, err := decode(ans.body)
	if err != nil {
		return err
	}
	rows := list(v, "value")
	if err := a.print(rows, column{"Host", "host"}, column{"Part", "part"}, column{"Equal", "equal"}, column{"At", "at"}, column{"Loaded", "loaded"}, column{"Goal", "goal"}); err != nil {
		return err
	}
	bad := 0
	for _, r := range rows {
		if equal, _ := at(r, "equal").(bool); !equal {
			bad++
		}
	}
	missing, _ := at(v, "missing").(map[string]any)
	for host, why := range missing {
		fmt.Fprintf(a.err, "host %s: %v\n", host, why)
	}
	if bad > 0 || len(missing) > 0 {
		return exitCode(exitError)
	}
	return nil
}
