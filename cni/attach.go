package cni

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"ringfence/host/agent/local"
	"ringfence/host/kernel/netdev"
)

// result is what a runtime is told of an attachment, in the form of specification 1.0; 0.4.0 wants a version for each address.
type result struct {
	Version    string   `json:"cniVersion"`
	Interfaces []device `json:"interfaces"`
	IPs        []ip     `json:"ips"`
	Routes     []route  `json:"routes,omitempty"`
	DNS        dns      `json:"dns"`
}

type device struct {
	Name    string `json:"name"`
	MAC     string `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"`
	Sandbox string `json:"sandbox,omitempty"`
}

type ip struct {
	Version   string       `json:"version,omitempty"`
	Address   netip.Prefix `json:"address"`
	Gateway   string       `json:"gateway,omitempty"`
	Interface *int         `json:"interface,omitempty"`
}

type route struct {
	To  netip.Prefix `json:"dst"`
	Via string       `json:"gw,omitempty"`
}

type dns struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
}

// add attaches the interface, or makes one and attaches it.
func (p *plugin) add(ctx context.Context) (any, error) {
	r := record{Container: p.env.container, Device: p.env.device, NIC: p.conf.nic(p.env.args), Namespace: p.env.netns}
	if r.NIC == "" && p.conf.Subnet != "" {
		subnet, err := parseSubnet(p.conf.Subnet)
		if err != nil {
			return nil, fault(codeConfig, "%v", err)
		}
		r.NIC, r.Made = subnet.nic(r.Container, r.Device), true
	}
	if r.NIC == "" {
		return nil, fault(codeConfig, "no network interface is named: CNI_ARGS RINGFENCE_NIC, runtimeConfig io.ringfence.nic, args.cni.nic, nic or subnet expected")
	}
	if old, err := p.store.get(r.Container, r.Device); err != nil {
		return nil, err
	} else if old != nil && *old != r { // a runtime that was interrupted between an ADD and its DEL
		if err := p.release(ctx, *old); err != nil {
			return nil, err
		}
	}
	if err := p.store.put(r); err != nil {
		return nil, err
	}
	if r.Made {
		if err := p.makeNIC(ctx, r.NIC); err != nil {
			return nil, err
		}
	}
	port, err := p.agent.Attach(ctx, local.Attach{NIC: r.NIC, Kind: local.Netns, Device: r.Device, Namespace: r.Namespace, Configure: true})
	if err != nil {
		return nil, refusal(err, "attach "+r.NIC)
	}
	return p.result(port), nil
}

// refusal gives an error of the agent the specification's code: what may pass is worth another try.
func refusal(err error, what string) error {
	var said *local.Error
	if !errors.As(err, &said) {
		return fault(codeTryAgain, "%s: the host's agent does not answer: %v", what, err)
	}
	if said.Status >= http.StatusInternalServerError || said.Status == http.StatusTooManyRequests {
		return fault(codeTryAgain, "%s: %s", what, said.Message)
	}
	return fault(codeConfig, "%s: %s", what, said.Message)
}

// result tells what the agent has configured in the container.
func (p *plugin) result(port local.Port) *result {
	r := &result{Version: p.conf.Version, Interfaces: []device{{Name: p.env.device, MAC: port.MAC, Sandbox: p.env.netns}}, IPs: []ip{}}
	if p.conf.Version == "1.1.0" {
		r.Interfaces[0].MTU = port.MTU
	}
	first := 0
	gateways := map[bool]bool{}
	for _, a := range port.Addresses {
		one := ip{Address: a.Prefix, Interface: &first}
		six := a.Prefix.Addr().Is6()
		if a.Gateway.IsValid() {
			one.Gateway = a.Gateway.String()
			if !gateways[six] {
				gateways[six] = true
				all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
				if six {
					all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
				}
				r.Routes = append(r.Routes, route{To: all, Via: one.Gateway})
			}
		}
		if p.conf.Version == "0.4.0" {
			one.Version = map[bool]string{false: "4", true: "6"}[six]
		}
		r.IPs = append(r.IPs, one)
	}
	for _, s := range port.DNS {
		r.DNS.Nameservers = append(r.DNS.Nameservers, s.String())
	}
	if port.Domain != "" {
		r.DNS.Domain, r.DNS.Search = port.Domain, []string{port.Domain}
	}
	return r
}

// del removes what an ADD of this container has made. Nothing of it there is no error, and the namespace may be gone.
func (p *plugin) del(ctx context.Context) error {
	r, err := p.store.get(p.env.container, p.env.device)
	if err != nil || r == nil {
		return err
	}
	return p.release(ctx, *r)
}

// release takes an attachment away: the interface only when it is still this container's, for another ADD may have been refused it.
func (p *plugin) release(ctx context.Context, r record) error {
	port, err := p.find(ctx, r)
	if err != nil {
		return err
	}
	if port != nil {
		if err := p.agent.Detach(ctx, r.NIC, false); err != nil {
			return refusal(err, "detach "+r.NIC)
		}
	}
	if r.Made {
		if err := p.removeNIC(ctx, r.NIC); err != nil {
			return err
		}
	}
	return p.store.remove(r)
}

// find is the attachment as the agent has it, nil when it has none.
func (p *plugin) find(ctx context.Context, r record) (*local.Port, error) {
	ports, err := p.agent.Ports(ctx)
	if err != nil {
		return nil, refusal(err, "list attached interfaces")
	}
	i := slices.IndexFunc(ports, func(o local.Port) bool {
		return strings.EqualFold(o.NIC, r.NIC) && o.Kind == local.Netns && o.Namespace == r.Namespace && o.Device == r.Device
	})
	if i < 0 {
		return nil, nil
	}
	return &ports[i], nil
}

// check compares the attachment with what the runtime was told.
func (p *plugin) check(ctx context.Context) error {
	if p.conf.Previous == nil {
		return fault(codeConfig, "prevResult: expected with CHECK")
	}
	r, err := p.store.get(p.env.container, p.env.device)
	if err != nil {
		return err
	}
	if r == nil {
		return fault(codeChanged, "container %s has no attachment %s", p.env.container, p.env.device)
	}
	port, err := p.find(ctx, *r)
	switch {
	case err != nil:
		return err
	case port == nil:
		return fault(codeChanged, "%s is not attached to %s any more", r.NIC, r.Namespace)
	case !port.Ready:
		return fault(codeChanged, "%s is not as it should be: %s", r.NIC, port.Problem)
	}
	now := p.result(*port)
	for _, was := range p.conf.Previous.IPs {
		if !slices.ContainsFunc(now.IPs, func(o ip) bool { return o.Address == was.Address }) && p.own(was) {
			return fault(codeChanged, "%s has not the address %s any more", r.NIC, was.Address)
		}
	}
	for _, was := range p.conf.Previous.Interfaces {
		if was.Sandbox == p.env.netns && was.Name == r.Device && was.MAC != "" && !strings.EqualFold(was.MAC, port.MAC) {
			return fault(codeChanged, "%s has the MAC %s, not %s", r.NIC, port.MAC, was.MAC)
		}
	}
	return p.checkInside(port)
}

// inside is a device as a container has it.
type inside struct {
	mac       string
	up        bool
	addresses []netip.Prefix
}

// look looks into a container.
func look(netns, name string) (d inside, err error) {
	err = netdev.With(netns, func(c *netdev.Conn) error {
		l, ok, err := c.Link(name)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("there is no device %s", name)
		}
		d.mac, d.up = l.MAC.String(), l.Up
		d.addresses, err = c.Addresses(name)
		return err
	})
	return d, err
}

// checkInside compares the container's device with the attachment: the agent does not watch what a container does to itself.
func (p *plugin) checkInside(port *local.Port) error {
	d, err := p.look(p.env.netns, p.env.device)
	switch {
	case err != nil:
		return fault(codeChanged, "container %s: %v", p.env.container, err)
	case !strings.EqualFold(d.mac, port.MAC):
		return fault(codeChanged, "container %s: %s has the MAC %s, not %s", p.env.container, p.env.device, d.mac, port.MAC)
	case !d.up:
		return fault(codeChanged, "container %s: %s is down", p.env.container, p.env.device)
	}
	for _, a := range port.Addresses {
		if !slices.ContainsFunc(d.addresses, func(h netip.Prefix) bool { return h.Addr() == a.Prefix.Addr() }) {
			return fault(codeChanged, "container %s: %s has not the address %s", p.env.container, p.env.device, a.Prefix.Addr())
		}
	}
	return nil
}

// own says whether an address of a chain's result is on this plugin's device: other plugins may have added theirs.
func (p *plugin) own(a ip) bool {
	if a.Interface == nil || *a.Interface < 0 || *a.Interface >= len(p.conf.Previous.Interfaces) {
		return true
	}
	d := p.conf.Previous.Interfaces[*a.Interface]
	return d.Name == p.env.device && d.Sandbox == p.env.netns
}

// subnetID is the id of a subnet, taken apart.
type subnetID struct{ subscription, group, vnet, subnet string }

func parseSubnet(id string) (subnetID, error) {
	s := strings.Split(id, "/")
	want := []string{"", "subscriptions", "*", "resourceGroups", "*", "providers", "Microsoft.Network", "virtualNetworks", "*", "subnets", "*"}
	if len(s) != len(want) {
		return subnetID{}, fmt.Errorf("subnet %q: not the id of a subnet", id)
	}
	for i, w := range want {
		if w == "*" && s[i] == "" || w != "*" && !strings.EqualFold(w, s[i]) {
			return subnetID{}, fmt.Errorf("subnet %q: not the id of a subnet", id)
		}
	}
	return subnetID{s[2], s[4], s[8], s[10]}, nil
}
