// Package local is how programs of a host speak with its agent: a socket in the agent's run directory, whose file mode 0600 is the
// authentication, and HTTP with JSON on it.
//
// In: the path of the socket and what is to be attached. Out: ports as the agent has them, errors in its words. host/agent serves
// it; the command line and the CNI plugin are its clients. The routes are in docs/operator.md.
package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
)

// Socket is the file's name in the agent's run directory.
const Socket = "agent.sock"

// Kinds of attachments.
const (
	Tap   = "tap"
	Netns = "netns"
)

// Attach asks for a network interface to be attached on this host to something that is not Ringfence's own.
type Attach struct {
	NIC       string `json:"nic"`                 // ARM id of the network interface
	Kind      string `json:"kind"`                // Tap or Netns
	Device    string `json:"device"`              // tap: a device that exists on the host; netns: the name of the one to make inside
	Namespace string `json:"namespace,omitempty"` // netns: absolute path of its file
	HostName  string `json:"hostName,omitempty"`  // its name in the internal DNS; empty: the interface's
	Configure bool   `json:"configure,omitempty"` // netns: set addresses and routes at once; else DHCP gives them to who asks
}

// Port is an attached network interface as the agent has it.
type Port struct {
	Attach
	Index     uint32       `json:"index"`
	MAC       string       `json:"mac"` // the device inside must use it: frames from another one are dropped
	MTU       int          `json:"mtu"`
	Addresses []Address    `json:"addresses"` // the primary one first
	DNS       []netip.Addr `json:"dns"`
	Domain    string       `json:"domain"`
	Ready     bool         `json:"ready"`             // in force, and the device is there and configured as asked
	Problem   string       `json:"problem,omitempty"` // why it is not
}

// Address is one address with what a static configuration needs.
type Address struct {
	Prefix  netip.Prefix `json:"prefix"`  // the address with the length of its subnet's prefix
	Gateway netip.Addr   `json:"gateway"` // IPv4: the subnet's first address; IPv6: the router's link-local one
}

// Error is a refusal of the agent or of the control plane behind it.
type Error struct {
	Status  int    `json:"-"` // HTTP's
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Client speaks with one agent.
type Client struct{ http *http.Client }

// Dial returns a client of the agent whose socket is at path; it connects with the first request.
func Dial(path string) *Client {
	var d net.Dialer
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }}}}
}

// Attach attaches a network interface and returns when its policy is in force and its device is connected. Asked again with the same
// words it changes nothing.
func (c *Client) Attach(ctx context.Context, a Attach) (Port, error) {
	var p Port
	return p, c.do(ctx, http.MethodPut, "/v1/ports", a, &p)
}

// Detach takes a network interface off this host; one that is not attached is no error. With force it also ends the attachment to another
// host whose agent is away.
func (c *Client) Detach(ctx context.Context, nic string, force bool) error {
	q := url.Values{"nic": {nic}}
	if force {
		q.Set("force", "true")
	}
	return c.do(ctx, http.MethodDelete, "/v1/ports?"+q.Encode(), nil, nil)
}

// Ports lists what is attached on this host, by index.
func (c *Client) Ports(ctx context.Context) ([]Port, error) {
	var list struct{ Value []Port }
	return list.Value, c.do(ctx, http.MethodGet, "/v1/ports", nil, &list)
}

// Status is nil when the agent can attach: it runs, has its goal and reaches the control plane.
func (c *Client) Status(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/v1/status", nil, nil)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask the agent: %w", err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	a, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	if a.StatusCode >= 300 {
		var refused struct{ Error Error }
		if json.Unmarshal(b, &refused) != nil || refused.Error.Message == "" {
			refused.Error.Message = fmt.Sprintf("the agent answers %s: %.200s", a.Status, b)
		}
		refused.Error.Status = a.StatusCode
		return &refused.Error
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	return nil
}
