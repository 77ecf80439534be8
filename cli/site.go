package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"ringfence/lab"
	"ringfence/machine"
)

// site is where commands are sent: a lab, or the installation of this machine.
type site struct {
	what     string // "lab NAME" or "the installation NAME"
	endpoint string
	ca       string // file; empty: the system's
	socket   string // the operator's
	tenants  []lab.Tenant
	config   string // the server's file
}

func labSite(st *lab.State) *site {
	return &site{what: fmt.Sprintf("lab %q", st.Name), endpoint: st.Endpoint, ca: st.CA, socket: st.Socket, tenants: st.Tenants,
		config: filepath.Join(st.RunDir, "server.yaml")}
}

func machineSite(st *machine.State) *site {
	p := &site{what: "the installation " + st.Name, endpoint: st.Endpoint, ca: st.CA, socket: st.Socket, config: st.Config}
	for _, t := range st.Tenants {
		p.tenants = append(p.tenants, lab.Tenant(t))
	}
	return p
}

// site finds it: by the endpoint's socket, by the lab that is named, or else what runs on this machine.
func (a *app) site() (*site, error) {
	f := a.flags
	if socket, ok := strings.CutPrefix(f.Endpoint, "unix:"); ok {
		return siteOf(strings.TrimPrefix(socket, "//"))
	}
	if f.Endpoint != "" {
		return &site{what: "the endpoint " + f.Endpoint, endpoint: f.Endpoint, ca: f.CA}, nil
	}
	if f.Lab != "" {
		st, err := lab.Load(f.Lab)
		if err != nil {
			return nil, err
		}
		return labSite(st), nil
	}
	return here()
}

// siteOf is the lab or the installation whose operator's socket that is; of others only the socket is known.
func siteOf(socket string) (*site, error) {
	if st, err := machine.Beside(socket); err == nil {
		return machineSite(st), nil
	} else if !errors.Is(err, machine.ErrNone) {
		return nil, err
	}
	if dir := filepath.Dir(socket); filepath.Base(filepath.Dir(dir)) == "ringfence" {
		if st, err := lab.Load(filepath.Base(dir)); err == nil && st.Socket == socket {
			return labSite(st), nil
		}
	}
	return &site{what: "the server at " + socket, socket: socket}, nil
}

// here is what runs on this machine.
func here() (*site, error) {
	of, noLab := lab.Load(lab.DefaultName)
	st, err := machine.Find()
	if err != nil && !errors.Is(err, machine.ErrNone) {
		return nil, err
	}
	others, err := lab.Names()
	if err != nil {
		return nil, err
	}
	return choose(of, noLab, st, others)
}

// choose decides between the lab that is meant when none is named and this machine's installation. When both run, nobody guesses: a write
// must not go where it was not meant to go.
func choose(of *lab.State, noLab error, st *machine.State, others []string) (*site, error) {
	switch running := st != nil && st.Running(); {
	case running && noLab == nil:
		return nil, usagef("both lab %q and the installation %s run on this machine: say --lab %s, or --endpoint unix:%s", of.Name, st.Name, of.Name, st.Socket)
	case running:
		return machineSite(st), nil
	case noLab == nil:
		return labSite(of), nil
	case st != nil:
		return nil, fmt.Errorf("the installation %s is not running: `systemctl start ringfence` or `ringfence up`; its log says why it ended", st.Name)
	case len(others) == 0:
		return nil, errors.New("neither a lab nor an installation runs on this machine: `ringfence lab up` makes a lab, `ringfence up` starts an installation; RINGFENCE_ENDPOINT names one elsewhere")
	}
	return nil, fmt.Errorf("%w; there are other labs, which --lab names: %s", noLab, strings.Join(others, ", "))
}

// tenant is the one of --as, else the first.
func (p *site) tenant(as string) (lab.Tenant, error) {
	var names []string
	for _, t := range p.tenants {
		if as == "" || strings.EqualFold(t.Name, as) {
			return t, nil
		}
		names = append(names, t.Name)
	}
	if names == nil {
		return lab.Tenant{}, fmt.Errorf("%s: nothing on this machine says who its tenants are: set RINGFENCE_TOKEN and RINGFENCE_CA for an https endpoint", p.what)
	}
	return lab.Tenant{}, usagef("--as %s: %s has no such tenant; there are: %s", as, p.what, strings.Join(names, ", "))
}

// client speaks as the operator, or as a tenant over TLS.
func (p *site) client(ctx context.Context, as string) (*client, error) {
	if as == "" {
		return socketClient(p.socket), nil
	}
	t, err := p.tenant(as)
	if err != nil {
		return nil, err
	}
	if t.Token == "" {
		if t.Token, err = p.signIn(ctx, t); err != nil {
			return nil, err
		}
	}
	return tlsClient(p.endpoint, p.ca, t.Token)
}

// signIn gets a token for a tenant that has none of its own, as any client does.
func (p *site) signIn(ctx context.Context, t lab.Tenant) (string, error) {
	if t.ClientID == "" {
		return "", fmt.Errorf("tenant %s: its service principals are the configuration's, and no secret of them is kept here: set RINGFENCE_ENDPOINT=%s and RINGFENCE_TOKEN", t.Name, p.endpoint)
	}
	c, err := tlsClient(p.endpoint, p.ca, "")
	if err != nil {
		return "", err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {t.ClientID}, "client_secret": {t.ClientSecret}, "scope": {p.endpoint + "/.default"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint+"/"+t.ID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("sign in as tenant %s: %w", t.Name, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var said struct {
		Token string `json:"access_token"`
		Why   string `json:"error_description"`
	}
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil || said.Token == "" {
		return "", fmt.Errorf("sign in as tenant %s: %s %s", t.Name, resp.Status, said.Why)
	}
	return said.Token, nil
}
