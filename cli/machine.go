package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var vmColumns = []column{
	{"Name", "name"}, {"ResourceGroup", "resourceGroup"}, {"Host", "host"}, {"Addresses", "addresses"}, {"State", "properties.provisioningState"},
}

// printMachines prints machines; a table shows their addresses too, which their interfaces know.
func (s *session) printMachines(vms, nics []any, many bool) error {
	a := s.app
	if f := a.flags.Output; f == "json" || f == "yaml" || a.flags.Query != "" {
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
	if b, err := a.sandbox(ctx, text(vm, "id")); err == nil && b.Host != "" {
		return b.Host
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

// configured waits until the machine's sandbox has the addresses of its interface. From another computer it cannot be seen.
func (s *session) configured(vm, nic any, limit time.Duration) error {
	if _, err := s.app.operatorSocket(); err != nil || os.Geteuid() != 0 {
		return nil
	}
	ctx, stop := context.WithTimeout(s.app.ctx, limit)
	defer stop()
	want := nicAddresses(nic)
	missing := ""
	for {
		b, err := s.app.sandbox(ctx, text(vm, "id"))
		if err == nil {
			var has []netip.Addr
			if has, err = namespaceAddresses(b.Netns); err == nil {
				if missing = absent(want, has); missing == "" {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("the address %s is missing inside", missing)
			}
			return fmt.Errorf("%s is enforced, but was not configured within %v: %w", text(vm, "name"), limit, err)
		case <-time.After(30 * time.Millisecond):
		}
	}
}

func absent(want, has []netip.Addr) string {
	for _, ip := range want {
		if !slices.Contains(has, ip) {
			return ip.String()
		}
	}
	return ""
}

// namespaceAddresses lists the addresses inside a network namespace that are ready for use.
func namespaceAddresses(name string) ([]netip.Addr, error) {
	type result struct {
		addrs []netip.Addr
		err   error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, in the namespace
		addrs, err := addressesIn(name)
		done <- result{addrs, err}
	}()
	r := <-done
	return r.addrs, r.err
}

func addressesIn(name string) ([]netip.Addr, error) {
	if !strings.Contains(name, "/") {
		name = filepath.Join("/run/netns", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", name, err)
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", name, err)
	}
	tentative, err := tentativeAddresses()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !slices.Contains(tentative, p.Addr()) {
			out = append(out, p.Addr())
		}
	}
	return out, nil
}

// tentativeAddresses are IPv6 addresses of the thread's namespace that cannot be used yet.
func tentativeAddresses() ([]netip.Addr, error) {
	b, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		flags, err := strconv.ParseUint(f[4], 16, 32)
		if err != nil || flags&unix.IFA_F_TENTATIVE == 0 {
			continue
		}
		var raw [16]byte
		if n, err := hex.Decode(raw[:], []byte(f[0])); n != 16 || err != nil {
			continue
		}
		out = append(out, netip.AddrFrom16(raw))
	}
	return out, nil
}

// asError is errors.As for a pointer type that is written once.
func asError[T error](err error, target *T) bool { return errors.As(err, target) }
