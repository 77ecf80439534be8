package cli

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, 64<<20)) }

type restCommand struct {
	Method  string `arg:"" help:"GET, HEAD, PUT, POST, PATCH or DELETE."`
	Path    string `arg:"" help:"Path, beginning with /subscriptions/…, or shorter: resourceGroups/… of the subscription."`
	Data    string `short:"d" aliases:"body" placeholder:"JSON" help:"Body: JSON, @file, or - for standard input."`
	Include bool   `short:"i" help:"Print status and headers on standard error."`
	Wait    bool   `help:"Follow a long-running operation to its end."`
}

func (restCommand) Help() string {
	return `api-version is added where it is missing. A path that does not begin with / is of the subscription; {subscriptionId} is replaced.

Examples:
  ringfence rest GET resourceGroups --as contoso
  ringfence rest PUT resourceGroups/shop -d '{"location":"westeurope"}' --as contoso
  ringfence rest PUT resourceGroups/shop/providers/Microsoft.Network/networkSecurityGroups/web -d @nsg.json --wait
  ringfence rest GET /ringfence/v1/hosts`
}

func (c *restCommand) Run(a *app) error {
	a.defaults = "json"
	method := strings.ToUpper(c.Method)
	if !slices.Contains([]string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"}, method) {
		return usagef("%s: expected GET, HEAD, PUT, POST, PATCH or DELETE", c.Method)
	}
	body, err := a.data(c.Data)
	if err != nil {
		return err
	}
	cl, path, err := c.target(a)
	if err != nil {
		return err
	}
	ans, err := cl.send(a.ctx, method, path, body)
	if err == nil && c.Wait {
		ans, err = cl.wait(a.ctx, method, path, ans)
	}
	if err != nil {
		return err
	}
	if c.Include {
		fmt.Fprintf(a.err, "%d %s\n", ans.status, http.StatusText(ans.status))
		for _, name := range sortedKeys(ans.header) {
			fmt.Fprintf(a.err, "%s: %s\n", name, strings.Join(ans.header[name], ", "))
		}
	}
	if !strings.Contains(ans.header.Get("Content-Type"), "json") && len(ans.body) > 0 && ans.header != nil {
		_, err := a.out.Write(ans.body)
		return err
	}
	v, err := decode(ans.body)
	if err != nil || v == nil {
		return err
	}
	return a.print(v)
}

// data is a body as the flags give it: JSON, @file, or - for standard input; nothing is no body.
func (a *app) data(flag string) ([]byte, error) {
	switch file, isFile := strings.CutPrefix(flag, "@"); {
	case isFile || flag == "-":
		return a.readFile(file)
	case flag != "":
		return []byte(flag), nil
	}
	return nil, nil
}

// target finds client and full path; only a short path needs the subscription.
func (c *restCommand) target(a *app) (*client, string, error) {
	if strings.HasPrefix(c.Path, "/") && !strings.Contains(c.Path, "{subscriptionId}") && !strings.HasPrefix(strings.ToLower(c.Path), "/resourcegroups") {
		cl, err := a.newClient()
		return cl, versioned(c.Path), err
	}
	s, err := a.connect()
	if err != nil {
		return nil, "", err
	}
	path := strings.ReplaceAll(c.Path, "{subscriptionId}", s.subscription)
	if !strings.HasPrefix(strings.ToLower(path), "/subscriptions") {
		path = "/subscriptions/" + s.subscription + "/" + strings.TrimPrefix(path, "/")
	}
	return s.client, versioned(path), nil
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
