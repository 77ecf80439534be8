package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"ringfence/goal"
)

// traced is what one host answers about a packet.
type traced struct {
	Steps  []map[string]any `json:"steps"`
	Action string           `json:"action"`
	Reason string           `json:"reason,omitempty"`
	Text   string           `json:"text,omitempty"`
	Next   netip.Addr       `json:"-"`
	VNI    uint32           `json:"-"`
	Frame  []byte           `json:"-"`
}

// getTrace follows a packet that is never sent: out of ?vm=, to ?to= (an address, or another VM's id), from host to host.
func (v *Server) getTrace(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	host, port, ok := v.portOf(q.Get("vm"))
	if !ok {
		fail(w, http.StatusNotFound, "VirtualMachineNotFound", "Virtual machine "+q.Get("vm")+" is on no host.")
		return
	}
	to, err := netip.ParseAddr(q.Get("to"))
	if err != nil {
		_, peer, ok := v.portOf(q.Get("to"))
		if !ok {
			fail(w, http.StatusBadRequest, "InvalidParameter", "to "+q.Get("to")+": an address, or the id of a virtual machine that is on a host, expected.")
			return
		}
		i := slices.IndexFunc(peer.Addresses, func(a goal.Address) bool { return a.IP.Is4() == (q.Get("family") != "6") })
		if i < 0 {
			fail(w, http.StatusBadRequest, "InvalidParameter", "to "+q.Get("to")+": it has no address of that family.")
			return
		}
		to = peer.Addresses[i].IP
	}
	question := url.Values{"port": {fmt.Sprint(port.Index)}, "to": {to.String()}}
	for _, k := range []string{"protocol", "sport", "dport"} {
		question.Set(k, q.Get(k))
	}
	out, err := v.trace(r.Context(), host, question)
	if err != nil {
		fail(w, http.StatusBadGateway, "HostNotAnswering", err.Error())
		return
	}
	answer(w, http.StatusOK, out)
}

// portOf finds the port of a VM's primary NIC, and its host's name.
func (v *Server) portOf(vm string) (host string, port *goal.Port, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, g := range v.goals {
		for i := range g.Ports {
			if p := &g.Ports[i]; p.Primary && strings.EqualFold(p.VM, vm) {
				return name, p, true
			}
		}
	}
	return "", nil, false
}

// trace asks the sender's host and then the one that it would send to.
func (v *Server) trace(ctx context.Context, host string, question url.Values) (traced, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*askTime)
	defer cancel()
	var all traced
	for range 2 {
		body, err := v.publisher.Ask(ctx, host, "trace?"+question.Encode())
		if err != nil {
			return all, err
		}
		var one struct {
			traced
			Next  netip.Addr
			VNI   uint32
			Frame []byte
		}
		if err := json.Unmarshal(body, &one); err != nil {
			return all, fmt.Errorf("host %s: trace: %w", host, err)
		}
		for _, s := range one.Steps {
			s["host"] = host
		}
		all = traced{Steps: append(all.Steps, one.Steps...), Action: one.Action, Reason: one.Reason, Text: one.Text}
		if one.Action != "encap" {
			return all, nil
		}
		from := v.underlay(host)
		if host = v.hostAt(one.Next); host == "" {
			return all, nil // on its way to a host that has never been here
		}
		question = url.Values{"vni": {fmt.Sprint(one.VNI)}, "from": {from.String()}, "frame": {string(one.Frame)}}
	}
	return all, nil
}

func (v *Server) underlay(host string) netip.Addr {
	for _, h := range v.publisher.Hosts() {
		if h.Name == host {
			return h.Underlay
		}
	}
	return netip.Addr{}
}

func (v *Server) hostAt(underlay netip.Addr) string {
	for _, h := range v.publisher.Hosts() {
		if h.Underlay == underlay {
			return h.Name
		}
	}
	return ""
}
