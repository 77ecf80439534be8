package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const baseline = "linux"

// plain is what Ringfence is compared with: namespaces joined by ordinary Linux routing. One host is one router between two
// ends; two hosts are two routers joined by VXLAN over an underlay like the lab's, which is a bridge. Each exists bare, and with nftables
// holding the large NSG's rules once: as one interval set beside connection tracking, which is how somebody who knows nftables
// would write them, and (on one host) one after the other without it, which is how they are mostly found.
type plain struct {
	namespaces []string
	list       []*contender
}

func newPlain(cfg config) (*plain, error) {
	p := &plain{}
	p.close() // what a run that was killed has left
	for i, c := range []struct {
		name   string
		filter ruleset
	}{{baseline, nil}, {"linux+nft-set-1000", asSet}, {"linux+nft-list-1000", asList}} {
		err := p.oneHost(fmt.Sprintf("rfb%d1", i), c.name, c.filter, cfg.rules)
		if err == nil && i < 2 {
			err = p.twoHosts(fmt.Sprintf("rfb%d2", i), c.name, c.filter, cfg.rules)
		}
		if err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *plain) contenders() []*contender { return p.list }

func (p *plain) close() {
	out, _ := exec.Command("ip", "netns", "list").Output()
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(f[0], "rfb") {
			_ = exec.Command("ip", "netns", "delete", f[0]).Run()
		}
	}
}

// ip runs one ip(8) command per line.
func ip(lines ...string) error {
	for _, l := range lines {
		if out, err := exec.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", l, err, out)
		}
	}
	return nil
}

func (p *plain) namespace(name string) error {
	if err := ip("netns add "+name, "-n "+name+" link set lo up"); err != nil {
		return err
	}
	p.namespaces = append(p.namespaces, name)
	return nil
}

// end makes a namespace with eth0 = addr, joined to router by a veth pair, and a default route to it.
func (p *plain) end(name, router, device, addr, gateway string) error {
	if err := p.namespace(name); err != nil {
		return err
	}
	return ip(
		fmt.Sprintf("-n %s link add %s type veth peer name eth0 netns %s", router, device, name),
		fmt.Sprintf("-n %s addr add %s/24 dev %s", router, gateway, device),
		fmt.Sprintf("-n %s link set %s up", router, device),
		fmt.Sprintf("-n %s addr add %s/24 dev eth0", name, addr),
		fmt.Sprintf("-n %s link set eth0 up", name),
		fmt.Sprintf("-n %s route add default via %s", name, gateway),
	)
}

// router makes a namespace that forwards.
func (p *plain) router(name string) error {
	if err := p.namespace(name); err != nil {
		return err
	}
	out, err := exec.Command("ip", "netns", "exec", name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").CombinedOutput()
	if err != nil {
		return fmt.Errorf("forwarding in %s: %w: %s", name, err, out)
	}
	return nil
}

// bridgeUnfiltered keeps iptables away from the frames of a bridge, as the lab's underlay does: a new namespace may have it otherwise.
func (p *plain) bridgeUnfiltered(name string) error {
	const script = "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done"
	if out, err := exec.Command("ip", "netns", "exec", name, "sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("bridge in %s: %w: %s", name, err, out)
	}
	return nil
}

func (p *plain) add(path, name, client, server, addr string) {
	enter := func(ns string) []string { return []string{"ip", "netns", "exec", ns} }
	p.list = append(p.list, &contender{name: name, path: path, client: enter(client), server: enter(server), addr: addr})
}

func (p *plain) oneHost(prefix, name string, filter ruleset, rules int) error {
	r, a, b := prefix+"r", prefix+"a", prefix+"b"
	if err := p.router(r); err != nil {
		return err
	}
	if err := p.end(a, r, "va", "10.60.0.4", "10.60.0.1"); err != nil {
		return err
	}
	if err := p.end(b, r, "vb", "10.60.1.4", "10.60.1.1"); err != nil {
		return err
	}
	p.add(oneHost, name, a, b, "10.60.1.4")
	return nftables(r, filter, rules)
}

func (p *plain) twoHosts(prefix, name string, filter ruleset, rules int) error {
	r, s, f, a, b := prefix+"r", prefix+"s", prefix+"f", prefix+"a", prefix+"b"
	if err := p.namespace(f); err != nil {
		return err
	}
	if err := p.bridgeUnfiltered(f); err != nil {
		return err
	}
	for _, router := range []string{r, s} {
		if err := p.router(router); err != nil {
			return err
		}
	}
	err := ip(
		fmt.Sprintf("-n %s link add bridge mtu 1600 type bridge", f),
		fmt.Sprintf("-n %s link set bridge up", f),
		fmt.Sprintf("-n %s link add under mtu 1600 type veth peer name left mtu 1600 netns %s", r, f),
		fmt.Sprintf("-n %s link add under mtu 1600 type veth peer name right mtu 1600 netns %s", s, f),
		fmt.Sprintf("-n %s link set left master bridge up", f),
		fmt.Sprintf("-n %s link set right master bridge up", f),
		fmt.Sprintf("-n %s link set under mtu 1600 up", r),
		fmt.Sprintf("-n %s link set under mtu 1600 up", s),
		fmt.Sprintf("-n %s addr add 198.18.9.1/24 dev under", r),
		fmt.Sprintf("-n %s addr add 198.18.9.2/24 dev under", s),
		fmt.Sprintf("-n %s link add vx type vxlan id 7 local 198.18.9.1 remote 198.18.9.2 dstport 4789 dev under", r),
		fmt.Sprintf("-n %s link add vx type vxlan id 7 local 198.18.9.2 remote 198.18.9.1 dstport 4789 dev under", s),
		fmt.Sprintf("-n %s addr add 10.61.9.1/24 dev vx", r),
		fmt.Sprintf("-n %s addr add 10.61.9.2/24 dev vx", s),
		fmt.Sprintf("-n %s link set vx mtu 1500 up", r),
		fmt.Sprintf("-n %s link set vx mtu 1500 up", s),
		fmt.Sprintf("-n %s route add 10.61.1.0/24 via 10.61.9.2", r),
		fmt.Sprintf("-n %s route add 10.61.0.0/24 via 10.61.9.1", s),
	)
	if err != nil {
		return err
	}
	if err := p.end(a, r, "va", "10.61.0.4", "10.61.0.1"); err != nil {
		return err
	}
	if err := p.end(b, s, "vb", "10.61.1.4", "10.61.1.1"); err != nil {
		return err
	}
	p.add(twoHosts, name, a, b, "10.61.1.4")
	if err := nftables(r, filter, rules); err != nil {
		return err
	}
	return nftables(s, filter, rules)
}

// ruleset writes the large NSG's rules for nft(8).
type ruleset func(b *strings.Builder, rules int)

// asSet is connection tracking first, then one look-up in a set of intervals.
func asSet(b *strings.Builder, rules int) {
	b.WriteString("table ip bench {\n set denied {\n  type ipv4_addr . inet_service\n  flags interval\n  elements = {\n")
	for i := range rules {
		for _, p := range denyPrefixes(i) {
			fmt.Fprintf(b, "   %s . %d,\n", p, denyPort(i))
		}
	}
	b.WriteString("  }\n }\n chain forward {\n  type filter hook forward priority 0; policy drop;\n  ct state established,related accept\n" +
		"  ct state invalid drop\n  ip saddr . tcp dport @denied drop\n  ip saddr . udp dport @denied drop\n  ct state new accept\n }\n}\n")
}

// asList is one rule per rule, in order.
func asList(b *strings.Builder, rules int) {
	b.WriteString("table ip bench {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n")
	for i := range rules {
		fmt.Fprintf(b, "  ip saddr { %s } th dport %d drop\n", strings.Join(denyPrefixes(i), ", "), denyPort(i))
	}
	b.WriteString("  accept\n }\n}\n")
}

// nftables loads a rule set into a router, once. The NSG is asked up to four times on the way of a first packet: the comparison is kind to nftables.
func nftables(router string, filter ruleset, rules int) error {
	if filter == nil {
		return nil
	}
	var b strings.Builder
	filter(&b, rules)
	cmd := exec.Command("ip", "netns", "exec", router, "nft", "-f", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(b.String()), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nftables in %s: %w", router, err)
	}
	return nil
}

// denyPrefixes and denyPort are rule i of the large NSG; none of them matches the load.
func denyPrefixes(i int) []string {
	var out []string
	for n := 4 * i; n < 4*i+4; n++ {
		out = append(out, fmt.Sprintf("172.%d.%d.0/24", 16+n/256, n%256))
	}
	return out
}

func denyPort(i int) int { return 10000 + i }
