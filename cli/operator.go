package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ringfence/host/agent"
)

type dumpCommands struct {
	Goal dumpGoal `cmd:"" help:"Print the goal of a host: everything it enforces, as canonical text."`
}

type dumpGoal struct {
	Host string `arg:"" help:"Name of the host."`
}

func (dumpGoal) Help() string {
	return "Examples:\n  ringfence dump goal host1\n  ringfence dump goal host1 -o json --query 'Ports[].ID'"
}

func (c *dumpGoal) Run(a *app) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	path := "/ringfence/v1/goal/" + url.PathEscape(c.Host)
	if a.structured() {
		ans, err := cl.send(a.ctx, http.MethodGet, path+"?format=json", nil)
		if err != nil {
			return err
		}
		v, err := decode(ans.body)
		if err != nil {
			return err
		}
		return a.print(v)
	}
	ans, err := cl.send(a.ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	_, err = a.out.Write(ans.body)
	return err
}

// operator is the client of the local socket: the operator's routes exist only there.
func (a *app) operator() (*client, error) {
	if a.flags.As != "" {
		return nil, usagef("--as %s: this is the operator's, a tenant cannot see it", a.flags.As)
	}
	return a.newClient()
}

type flowsCommand struct{ watchFlags }

func (flowsCommand) Help() string { return "Example:\n  ringfence flows --vm web1" }

func (c *flowsCommand) Run(a *app) error {
	return c.show(a, "flows", column{"Protocol", "protocol"}, column{"Local", "local"}, column{"Port", "localPort"}, column{"Remote", "remote"},
		column{"Port", "remotePort"}, column{"State", "state"}, column{"IdleMillis", "idleMillis"})
}

type trafficCommand struct{ watchFlags }

func (trafficCommand) Help() string { return "Example:\n  ringfence traffic --host host1" }

func (c *trafficCommand) Run(a *app) error {
	return c.show(a, "traffic", column{"Sent", "sent"}, column{"Delivered", "delivered"}, column{"Local", "local"}, column{"Encapsulated", "encapsulated"},
		column{"Answered", "answered"}, column{"Service", "service"})
}

// operatorList prints one of the operator's lists; when it is empty, empty may say that it was asked in vain.
func (a *app) operatorList(path string, keep func(any) bool, empty func() error, columns ...column) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	ans, err := cl.send(a.ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	v, err := decode(ans.body)
	if err != nil {
		return err
	}
	if o, ok := v.(map[string]any); ok && o["value"] != nil {
		missing, _ := o["missing"].(map[string]any)
		for _, host := range sortedKeys(missing) {
			fmt.Fprintf(a.err, "ringfence: host %s does not answer: %s\n", host, cell(missing[host]))
		}
		v = o["value"]
	}
	if rows, ok := v.([]any); ok {
		rows = slices.DeleteFunc(rows, func(r any) bool { return !keep(r) })
		if len(rows) == 0 {
			if err := empty(); err != nil {
				return err
			}
		}
		nameSubscriptions(&session{client: cl, app: a}, rows)
		v = rows
	}
	return a.print(v, columns...)
}

// nameSubscriptions tells apart machines of one name: each row with a machine gets its subscription's name.
func nameSubscriptions(s *session, rows []any) { s.subscriptionNames().name(rows) }

// subscriptionNames are the names of subscriptions by id in lower case.
type subscriptionNames map[string]string

func (s *session) subscriptionNames() subscriptionNames {
	names := subscriptionNames{}
	if all, err := s.subscriptions(); err == nil { // else the ids must do
		for _, sub := range all {
			names[strings.ToLower(sub.SubscriptionID)] = sub.DisplayName
		}
	}
	return names
}

func (names subscriptionNames) name(rows []any) {
	for _, r := range rows {
		id := text(r, "vm")
		if p := strings.Split(id, "/"); len(p) > 2 {
			name := names[strings.ToLower(p[2])]
			if name == "" {
				name = p[2]
			}
			r.(map[string]any)["subscription"] = name
		}
	}
}

type servicesCommand struct {
	Dir       string `required:"" help:"The agent's run directory."`
	Host      string `required:"" help:"The host's name."`
	Namespace string `required:"" help:"The service namespace."`
	Level     string `help:"Of the log: debug, info, warn or error."`
}

func (servicesCommand) Help() string {
	return "Example:\n  ringfence services --dir /run/ringfence --host host1 --namespace rf-lab-host1-svc"
}

func (c *servicesCommand) Run(a *app) error {
	if a.programs.Services == nil {
		return errors.New("this program was built without the host's services")
	}
	return a.programs.Services(a.ctx, c.Dir, c.Host, c.Namespace, c.Level)
}

type versionCommand struct{}

func (versionCommand) Help() string { return "Example:\n  ringfence version" }

func (versionCommand) Run(a *app) error {
	version := agent.Version
	if a.flags.Output == "" || a.flags.Output == "table" {
		_, err := fmt.Fprintln(a.out, "ringfence", version)
		return err
	}
	return a.print(map[string]any{"version": version})
}
