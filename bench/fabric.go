package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	labName = "bench"
	group   = "bench"
)

// fabric is Ringfence: a lab of its own with the VMs that the load runs between. For each size of NSG there are three: client and
// near on one host, far on the other; the NSG is attached to the subnet and to every NIC, so that a first packet between two VMs asks four.
type fabric struct {
	binary string
	api    *api
	list   []*contender
	labUp  time.Duration
}

// size is one of the compared NSGs.
type size struct {
	name   string
	rules  int
	subnet int
}

func newFabric(ctx context.Context, cfg config) (*fabric, error) {
	binary, err := filepath.Abs("bin/ringfence")
	if err != nil {
		return nil, err
	}
	f := &fabric{binary: binary}
	f.close()
	start := time.Now()
	if out, err := exec.CommandContext(ctx, binary, "lab", "up", "--name", labName, "--hosts", "2").CombinedOutput(); err != nil {
		f.close()
		return nil, fmt.Errorf("lab up: %w: %s", err, out)
	}
	f.labUp = time.Since(start)
	if f.api, err = newAPI(labName); err != nil {
		f.close()
		return nil, err
	}
	if err := f.build(ctx, cfg); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fabric) close() {
	_ = exec.Command(f.binary, "lab", "down", "--name", labName).Run()
}

// build makes one VNet with a subnet per NSG size and its three VMs.
func (f *fabric) build(ctx context.Context, cfg config) error {
	if _, err := f.api.put(ctx, f.api.groupPath(group), map[string]any{"location": region}); err != nil {
		return err
	}
	sizes := []size{{"ringfence-1", 1, 1}, {fmt.Sprintf("ringfence-%d", cfg.rules), cfg.rules, 2}}
	var subnets []any
	for _, s := range sizes {
		nsg := f.path("networkSecurityGroups/" + s.name)
		if _, err := f.api.put(ctx, nsg, nsgBody(s.rules, 0)); err != nil {
			return err
		}
		subnets = append(subnets, map[string]any{"name": s.name, "properties": map[string]any{
			"addressPrefix": fmt.Sprintf("10.62.%d.0/24", s.subnet), "networkSecurityGroup": map[string]any{"id": nsg}}})
	}
	vnet := map[string]any{"location": region, "properties": map[string]any{
		"addressSpace": map[string]any{"addressPrefixes": []string{"10.62.0.0/16"}}, "subnets": subnets}}
	if _, err := f.api.put(ctx, f.path("virtualNetworks/v"), vnet); err != nil {
		return err
	}
	for _, s := range sizes {
		for i, vm := range []struct{ name, host string }{{"client", "host1"}, {"near", "host1"}, {"far", "host2"}} {
			name := fmt.Sprintf("%s-%d", vm.name, s.rules)
			if err := f.machine(ctx, name, vm.host, s.name, fmt.Sprintf("10.62.%d.%d", s.subnet, 4+i)); err != nil {
				return err
			}
			if err := f.configured(ctx, name); err != nil {
				return err
			}
		}
		f.pair(oneHost, s, "near", 5)
		f.pair(twoHosts, s, "far", 6)
	}
	return nil
}

func (f *fabric) pair(path string, s size, server string, host int) {
	f.list = append(f.list, &contender{name: s.name, path: path, client: f.enter(fmt.Sprintf("client-%d", s.rules)),
		server: f.enter(fmt.Sprintf("%s-%d", server, s.rules)), addr: fmt.Sprintf("10.62.%d.%d", s.subnet, host)})
}

func (f *fabric) contenders() []*contender { return f.list }

func (f *fabric) path(rest string) string {
	return f.api.groupPath(group) + "/providers/Microsoft.Network/" + rest
}

// enter is the command prefix that runs something in a VM.
func (f *fabric) enter(vm string) []string {
	return []string{"env", "RINGFENCE_LAB=" + labName, f.binary, "vm", "exec", "-g", group, "--subscription", f.api.subscription, vm, "--"}
}

// machine puts a NIC and a VM on a host, each with the subnet's NSG on the NIC too.
func (f *fabric) machine(ctx context.Context, name, host, subnet, address string) error {
	config := map[string]any{"subnet": map[string]any{"id": f.path("virtualNetworks/v/subnets/" + subnet)}}
	if address != "" {
		config["privateIPAllocationMethod"], config["privateIPAddress"] = "Static", address
	}
	nic := map[string]any{"location": region, "properties": map[string]any{
		"networkSecurityGroup": map[string]any{"id": f.path("networkSecurityGroups/" + subnet)},
		"ipConfigurations":     []any{map[string]any{"name": "ipconfig1", "properties": config}}}}
	if _, err := f.api.put(ctx, f.path("networkInterfaces/"+name), nic); err != nil {
		return err
	}
	vm := map[string]any{"location": region, "tags": map[string]any{"ringfence-host": host}, "properties": map[string]any{
		"networkProfile": map[string]any{"networkInterfaces": []any{map[string]any{"id": f.path("networkInterfaces/" + name)}}}}}
	_, err := f.api.put(ctx, f.vmPath(name), vm)
	return err
}

func (f *fabric) vmPath(name string) string {
	return f.api.groupPath(group) + "/providers/Microsoft.Compute/virtualMachines/" + name
}

// configured waits until the VM has taken its address from DHCP.
func (f *fabric) configured(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var out []byte
	for ctx.Err() == nil {
		args := append(f.enter(name), "ip", "-4", "-br", "address", "show", "dev", "eth0")
		out, _ = exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if strings.Contains(string(out), "10.62.") {
			return nil
		}
	}
	return fmt.Errorf("%s has no address after 20 s: %s", name, out)
}

// nsgBody is an NSG of n rules that lets the load through: the last of each direction allows everything, those before it deny
// prefixes and ports that the load does not use, four prefixes each. Another variant differs in one rule.
func nsgBody(n, variant int) map[string]any {
	allow := func(name, direction string, priority int) map[string]any {
		return ruleBody(name, direction, "Allow", priority, []string{"*"}, "*")
	}
	rules := []any{allow("allow-in", "Inbound", 4000)}
	if n > 1 {
		rules = append(rules, allow("allow-out", "Outbound", 4000))
	}
	for i := 0; len(rules) < n; i++ {
		direction := []string{"Inbound", "Outbound"}[i%2]
		port := fmt.Sprint(denyPort(i))
		if i == n/2 {
			port = fmt.Sprint(denyPort(i) + 10000*(variant%2))
		}
		rules = append(rules, ruleBody(fmt.Sprintf("deny-%d", i), direction, "Deny", 100+i, denyPrefixes(i), port))
	}
	return map[string]any{"location": region, "properties": map[string]any{"securityRules": rules}}
}

func ruleBody(name, direction, access string, priority int, sources []string, port string) map[string]any {
	p := map[string]any{"priority": priority, "direction": direction, "access": access, "protocol": "*", "sourcePortRange": "*",
		"destinationAddressPrefix": "*", "destinationPortRange": port}
	if len(sources) == 1 {
		p["sourceAddressPrefix"] = sources[0]
	} else {
		p["sourceAddressPrefixes"] = sources
	}
	return map[string]any{"name": name, "properties": p}
}

// controlPlane times what a user waits for.
func (f *fabric) controlPlane(ctx context.Context, cfg config) ([]timing, error) {
	var enforced, created, ready []time.Duration
	large := fmt.Sprintf("ringfence-%d", cfg.rules)
	for i := range cfg.control {
		d, err := f.api.put(ctx, f.path("networkSecurityGroups/"+large), nsgBody(cfg.rules, i+1))
		if err != nil {
			return nil, err
		}
		enforced = append(enforced, d)
	}
	for i := range cfg.control {
		name, start := fmt.Sprintf("probe-%d", i), time.Now()
		if err := f.machine(ctx, name, "host1", large, ""); err != nil {
			return nil, err
		}
		created = append(created, time.Since(start))
		if err := f.configured(ctx, name); err != nil {
			return nil, err
		}
		ready = append(ready, time.Since(start))
	}
	for i := range cfg.control {
		name := fmt.Sprintf("probe-%d", i)
		for _, p := range []string{f.vmPath(name), f.path("networkInterfaces/" + name)} {
			if err := f.api.delete(ctx, p); err != nil {
				return nil, err
			}
		}
	}
	return []timing{
		summarise("lab up, two hosts", []time.Duration{f.labUp}),
		summarise(fmt.Sprintf("NSG of %d rules and %d prefixes: PUT to enforced on both hosts", cfg.rules, 4*(cfg.rules-2)), enforced),
		summarise("NIC and VM: PUT to enforced", created),
		summarise("NIC and VM: PUT to address taken inside", ready),
	}, nil
}

// labState reads what the benchmark needs of the lab's state file.
func labState(name string) (endpoint, ca, subscription, token string, err error) {
	var s struct {
		Endpoint string
		CA       string
		Tenants  []struct{ Subscription, Token string }
	}
	b, err := os.ReadFile(filepath.Join("/run/ringfence", name, "lab.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && len(s.Tenants) == 0 {
		err = fmt.Errorf("no tenant in it")
	}
	if err != nil {
		return "", "", "", "", fmt.Errorf("state of lab %s: %w", name, err)
	}
	return s.Endpoint, s.CA, s.Tenants[0].Subscription, s.Tenants[0].Token, nil
}
