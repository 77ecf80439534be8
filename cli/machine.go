package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

var vmColumns = []column{
	{"Name", "name"}, {"ResourceGroup", "resourceGroup"}, {"Host", "host"}, {"Addresses", "addresses"}, {"State", "properties.provisioningState"},
}

// printMachines prints machines; a table shows their addresses too, which their interfaces know.
func (s *session) printMachines(vms, nics []any, many bool) error {
	a := s.app
	if a.structured() {
		if !many {
			return a.print(vms[0])
		}
		return a.print(vms)
	}
	byID := map[string]any{}
	if nics == nil && len(vms) > 0 {
		var err error
		if nics, err = s.list(s.path("", nicType)); err != nil {
			return err
		}
	}
	for _, n := range nics {
		byID[strings.ToLower(text(n, "id"))] = n
	}
	rows := make([]any, len(vms))
	for i, vm := range vms {
		row := map[string]any{"resourceGroup": groupOf(text(vm, "id")), "host": a.hostOf(vm)}
		for k, v := range vm.(map[string]any) {
			row[k] = v
		}
		var addresses []any
		for _, id := range nicIDs(vm) {
			for _, ip := range nicAddresses(byID[strings.ToLower(id)]) {
				addresses = append(addresses, ip.String())
			}
		}
		row["addresses"] = addresses
		rows[i] = row
	}
	return a.print(rows, vmColumns...)
}

// hostOf asks the operator's socket which host carries a machine; without one, the tag says what was asked for.
func (a *app) hostOf(vm any) string {
	ctx, stop := context.WithTimeout(a.ctx, 2*time.Second)
	defer stop()
	if b, err := a.boxes(ctx, text(vm, "id"), 0); err == nil && len(b) > 0 {
		return b[0].Host
	}
	return text(vm, "tags", "ringfence-host")
}

// text follows member names to a string; "" where there is none.
func text(v any, names ...string) string {
	for _, n := range names {
		o, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = o[n]
	}
	t, _ := v.(string)
	return t
}

// at follows member names.
func at(v any, names ...string) any {
	for _, n := range names {
		o, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = o[n]
	}
	return v
}

// groupOf is the resource group in an id.
func groupOf(id string) string {
	p := strings.Split(id, "/")
	for i := 0; i+1 < len(p); i++ {
		if strings.EqualFold(p[i], "resourceGroups") {
			return p[i+1]
		}
	}
	return ""
}

func nicIDs(vm any) []string {
	list, _ := at(vm, "properties", "networkProfile", "networkInterfaces").([]any)
	var out []string
	for _, n := range list {
		out = append(out, text(n, "id"))
	}
	return out
}

func nicAddresses(nic any) []netip.Addr {
	list, _ := at(nic, "properties", "ipConfigurations").([]any)
	var out []netip.Addr
	for _, c := range list {
		if ip, err := netip.ParseAddr(text(c, "properties", "privateIPAddress")); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

// configured waits until the machine's sandbox has taken its addresses. From another computer it cannot be seen.
func (s *session) configured(vm any, limit time.Duration) error {
	if _, err := s.app.operatorSocket(); err != nil {
		return nil
	}
	name := text(vm, "name")
	boxes, err := s.app.boxes(s.app.ctx, text(vm, "id"), min(limit, time.Minute))
	if err != nil {
		return err
	}
	if len(boxes) == 0 {
		return fmt.Errorf("%s is stored, but no connected host has its sandbox", name)
	}
	for _, b := range boxes {
		if !b.Ready {
			return fmt.Errorf("%s is enforced, but was not configured within %v: %s", name, limit, b.Problem)
		}
	}
	return nil
}

// asError is errors.As for a pointer type that is written once.
func asError[T error](err error, target *T) bool { return errors.As(err, target) }
