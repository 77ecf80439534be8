package cni

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const apiVersion = "2024-05-01"

// nic names the interface of one attachment: the same for the same container and device, and no longer than Azure allows.
func (s subnetID) nic(container, device string) string {
	sum := sha256.Sum256([]byte(container + "\x00" + device))
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, container[:min(len(container), 40)])
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/networkInterfaces/cni-%s-%s", s.subscription, s.group,
		readable, hex.EncodeToString(sum[:6]))
}

// vnetID is where the interface's location comes from.
func (s subnetID) vnetID() string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/virtualNetworks/%s", s.subscription, s.group, s.vnet)
}

// makeNIC makes the interface of an attachment by the API, as any client would.
func (p *plugin) makeNIC(ctx context.Context, id string) error {
	api, err := p.api()
	if err != nil {
		return err
	}
	subnet, err := parseSubnet(p.conf.Subnet)
	if err != nil {
		return err
	}
	var vnet struct{ Location string }
	if err := api.do(ctx, http.MethodGet, subnet.vnetID(), nil, &vnet); err != nil {
		return err
	}
	reference := func(id string) any { return map[string]any{"id": id} }
	configuration := map[string]any{"subnet": reference(p.conf.Subnet), "privateIPAllocationMethod": "Dynamic"}
	if len(p.conf.ASGs) > 0 {
		var list []any
		for _, id := range p.conf.ASGs {
			list = append(list, reference(id))
		}
		configuration["applicationSecurityGroups"] = list
	}
	properties := map[string]any{"ipConfigurations": []any{map[string]any{"name": "ipconfig1", "properties": configuration}}}
	if p.conf.Group != "" {
		properties["networkSecurityGroup"] = reference(p.conf.Group)
	}
	body := map[string]any{"location": vnet.Location, "properties": properties,
		"tags": map[string]any{"cni-network": p.conf.Name, "cni-container": p.env.container}}
	var made struct {
		Properties struct{ ProvisioningState string }
	}
	for method, in := http.MethodPut, any(body); ; method, in = http.MethodGet, nil {
		if err := api.do(ctx, method, id, in, &made); err != nil {
			return err
		}
		switch made.Properties.ProvisioningState {
		case "Succeeded":
			return nil
		case "Failed", "Canceled":
			return fault(codeIO, "make %s: it is %s", id, made.Properties.ProvisioningState)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// removeNIC removes it and waits until it is gone; one that is gone already is no error.
func (p *plugin) removeNIC(ctx context.Context, id string) error {
	api, err := p.api()
	if err != nil {
		return err
	}
	if err := api.do(ctx, http.MethodDelete, id, nil, nil); err != nil && !absent(err) {
		return err
	}
	for {
		if err := api.do(ctx, http.MethodGet, id, nil, nil); absent(err) {
			return nil
		} else if err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fault(codeTryAgain, "the API does not finish: %v", ctx.Err())
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

// api is the control plane as the network's configuration names it.
type api struct {
	http  *http.Client
	base  string
	token string
}

func (p *plugin) api() (*api, error) {
	a := &api{base: strings.TrimSuffix(p.conf.Endpoint, "/"), http: &http.Client{Timeout: time.Minute}}
	transport := &http.Transport{}
	a.http.Transport = transport
	if socket, ok := strings.CutPrefix(p.conf.Endpoint, "unix:"); ok {
		a.base = "http://api"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	if p.conf.Token != "" {
		b, err := os.ReadFile(p.conf.Token)
		if err != nil {
			return nil, fault(codeConfig, "tokenFile: %v", err)
		}
		a.token = strings.TrimSpace(string(b))
	}
	if p.conf.CA != "" {
		b, err := os.ReadFile(p.conf.CA)
		if err != nil {
			return nil, fault(codeConfig, "ca: %v", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(b) {
			return nil, fault(codeConfig, "ca: %s has no certificate", p.conf.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return a, nil
}

// refused is an answer of the API that is no success.
type refused struct {
	told   *Error
	status int
}

func (r *refused) Error() string { return r.told.Msg }
func (r *refused) Unwrap() error { return r.told }

func absent(err error) bool {
	var r *refused
	return errors.As(err, &r) && r.status == http.StatusNotFound
}

func (a *api) do(ctx context.Context, method, id string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, id, err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.base+(&url.URL{Path: id}).EscapedPath()+"?api-version="+apiVersion, body)
	if err != nil {
		return fault(codeConfig, "%s %s: %v", method, id, err)
	}
	r.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	w, err := a.http.Do(r)
	if err != nil {
		return fault(codeTryAgain, "%s %s: %v", method, id, err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(io.LimitReader(w.Body, 16<<20))
	if err != nil {
		return fault(codeTryAgain, "%s %s: %v", method, id, err)
	}
	if w.StatusCode >= 300 {
		var said struct {
			Error struct{ Code, Message string }
		}
		json.Unmarshal(b, &said)
		code := codeConfig
		if w.StatusCode >= 500 || w.StatusCode == http.StatusTooManyRequests || w.StatusCode == http.StatusConflict {
			code = codeTryAgain
		}
		return &refused{fault(code, "%s %s: %s %s: %s", method, id, w.Status, said.Error.Code, said.Error.Message), w.StatusCode}
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fault(codeIO, "%s %s: the answer cannot be read: %v", method, id, err)
	}
	return nil
}
