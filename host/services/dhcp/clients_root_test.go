package dhcp

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// guests is a scene whose guest runs other people's clients: they configure the device as they would on Azure.
type guests struct {
	scene
	t      *testing.T
	dir    string
	server *Server
}

func newGuests(t *testing.T) *guests {
	g := &guests{scene: newScene(t), t: t, dir: t.TempDir()}
	server, err := Open(Options{Namespace: g.service, Device: "svc0"})
	must(t, err)
	t.Cleanup(func() { server.Close() })
	g.server = server
	g.give("10.0.0.4")
	// What the data plane does for ARP.
	must(t, netdev.With(g.guest, func(c *netdev.Conn) error { return c.Up("lo") }))
	g.ip("neigh", "replace", "10.0.0.1", "lladdr", "12:34:56:78:9a:bc", "dev", "eth0", "nud", "permanent")
	return g
}

// give makes ip the NIC's address.
func (g *guests) give(ip string) {
	p := nic()
	p.Addresses = []goal.Address{{IP: netip.MustParseAddr(ip), Subnet: netip.MustParsePrefix("10.0.0.0/24"), Primary: true}}
	g.server.Set(&goal.Host{Generation: g.server.Status().Generation + 1, Ports: []goal.Port{p}})
}

func (g *guests) ip(args ...string) string {
	g.t.Helper()
	out, err := exec.Command("ip", append([]string{"-4", "-n", g.guest}, args...)...).CombinedOutput()
	if err != nil {
		g.t.Fatalf("ip %v: %v: %s", args, err, out)
	}
	return string(out)
}

// command is a client in the guest. Its files are its own: nothing of the machine's is read or written.
func (g *guests) command(argv ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	g.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = g.dir, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	return cmd
}

func (g *guests) run(argv ...string) string {
	g.t.Helper()
	var out []byte
	err := netns.OnSpareThread(func() (err error) {
		return netns.Do(g.guest, func() (err error) { out, err = g.command(argv...).CombinedOutput(); return err })
	})
	if err != nil {
		g.t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

func (g *guests) file(name, content string) string {
	path := filepath.Join(g.dir, name)
	must(g.t, os.WriteFile(path, []byte(content), 0o700))
	return path
}

// configured waits until the device has the address, and nothing else.
func (g *guests) configured(client, ip string) {
	g.t.Helper()
	var have string
	for range 400 {
		if have = g.ip("-br", "addr", "show", "dev", "eth0"); strings.Contains(have, " "+ip+"/24 ") && strings.Count(have, "/24") == 1 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	g.t.Fatalf("%s: eth0 has not %s alone: %s", client, ip, have)
}

// told compares what a client understood.
func (g *guests) told(client, text string, wants ...string) {
	g.t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			g.t.Errorf("%s was not told %q:\n%s", client, want, text)
		}
	}
}

// BusyBox's client, as small guests have it: what it is told, and a renewal after the NIC got another address.
func TestUdhcpc(t *testing.T) {
	g := newGuests(t)
	script := g.file("script", `#!/bin/sh
{ echo "event=$1"; env; } >> log
case "$1" in
deconfig|nak) ip -4 addr flush dev eth0; ip link set eth0 up ;;
bound|renew) ip -4 addr flush dev eth0; ip addr add $ip/$mask dev eth0
	set -- $staticroutes
	while [ $# -ge 2 ]; do ip route replace $1 via $2 dev eth0 onlink; shift 2; done ;;
esac
`)
	client := g.command("busybox", "udhcpc", "-f", "-i", "eth0", "-s", script, "-O", "staticroutes", "-O", "mtu", "-O", "search", "-t", "20", "-T", "1")
	must(t, netns.Do(g.guest, client.Start))
	t.Cleanup(func() { client.Process.Kill(); client.Wait() })
	g.configured("udhcpc", "10.0.0.4")
	env, err := os.ReadFile(filepath.Join(g.dir, "log"))
	must(t, err)
	g.told("udhcpc", string(env), "\nip=10.0.0.4\n", "subnet=255.255.255.0", "mask=24", "router=10.0.0.1", "dns=168.63.129.16 10.0.0.53",
		"domain=abc.rx.internal.cloudapp.net", "serverid=168.63.129.16", "lease=4294967295", "broadcast=10.0.0.255", "mtu=1400",
		"staticroutes=0.0.0.0/0 10.0.0.1 168.63.129.16/32 10.0.0.1 169.254.169.254/32 10.0.0.1", "opt245=a83f8110", "siaddr=168.63.129.16")
	g.told("udhcpc's routes", g.ip("route"), "default via 10.0.0.1", "168.63.129.16 via 10.0.0.1", "169.254.169.254 via 10.0.0.1")
	for i := range 5 {
		g.give(fmt.Sprintf("10.0.0.%d", 20+i))
	}
	must(t, client.Process.Signal(syscall.SIGUSR1)) // it asks from the old address, hears that it is not its own, and begins anew
	g.configured("udhcpc", "10.0.0.24")
	before := g.server.Status()
	must(t, client.Process.Signal(syscall.SIGUSR2)) // release: no answer, and nothing changes
	for g.server.Status().Ignored == before.Ignored {
		time.Sleep(10 * time.Millisecond)
	}
}

// ISC's client, which most of Azure's own images ran: an infinite lease, and one from before a change is not confirmed.
func TestDhclient(t *testing.T) {
	g := newGuests(t)
	leases := filepath.Join(g.dir, "leases")
	conf := g.file("dhclient.conf", `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
option wire-server code 245 = ip-address;
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, interface-mtu, rfc3442-classless-static-routes, wire-server;
timeout 20;
`)
	script := g.file("script", `#!/bin/sh
case "$reason" in
PREINIT) ip link set eth0 up ;;
BOUND|RENEW|REBIND|REBOOT) ip -4 addr flush dev eth0; ip addr add $new_ip_address/24 dev eth0 ;;
EXPIRE|FAIL|RELEASE|STOP) ip -4 addr flush dev eth0 ;;
esac
exit 0
`)
	once := func() string { // it goes on in the background when it has a lease
		out := g.run("dhclient", "-4", "-1", "-v", "-cf", conf, "-lf", leases, "-pf", filepath.Join(g.dir, "pid"), "-sf", script, "eth0")
		g.run("dhclient", "-4", "-x", "-cf", conf, "-lf", leases, "-pf", filepath.Join(g.dir, "pid"), "-sf", "/bin/true", "eth0")
		return out
	}
	once()
	g.configured("dhclient", "10.0.0.4")
	lease, err := os.ReadFile(leases)
	must(t, err)
	g.told("dhclient", string(lease), "fixed-address 10.0.0.4;", "option subnet-mask 255.255.255.0;", "option routers 10.0.0.1;",
		"option dhcp-lease-time 4294967295;", "option dhcp-renewal-time 4294967295;", "option dhcp-rebinding-time 4294967295;",
		"option domain-name-servers 168.63.129.16,10.0.0.53;", "option dhcp-server-identifier 168.63.129.16;", "option interface-mtu 1400;",
		`option domain-name "abc.rx.internal.cloudapp.net";`, "option broadcast-address 10.0.0.255;", "option wire-server 168.63.129.16;",
		"option rfc3442-classless-static-routes 0,10,0,0,1,32,168,63,129,16,10,0,0,1,32,169,254,169,254,10,0,0,1;")
	g.told("dhclient, again", once(), "DHCPREQUEST for 10.0.0.4", "DHCPACK of 10.0.0.4 from 168.63.129.16")
	g.give("10.0.0.30")
	g.told("dhclient, after a change", once(), "DHCPREQUEST for 10.0.0.4", "DHCPNAK from 168.63.129.16", "DHCPACK of 10.0.0.30")
	g.configured("dhclient", "10.0.0.30")
}
