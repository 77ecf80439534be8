package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A guest with a client of its own gets the address that its interface was given meanwhile when it renews: its request from the old
// address is heard and refused, and it begins anew.
func TestRenewalAfterAChange(t *testing.T) {
	const tenant = "contoso"
	l := newLab(t, 1)
	l.vnet(tenant)
	l.nic(tenant, "own", "b")
	ns, dir := "renew-"+l.name, t.TempDir()
	run(t, "ip", "netns", "add", ns)
	t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	l.must("port", "attach", l.path(tenant, network+"networkInterfaces/own"), "--host", "host1", "--netns", "/run/netns/"+ns)
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(`#!/bin/sh
case "$1" in
deconfig|nak) ip -4 addr flush dev eth0; ip link set eth0 up ;;
bound|renew) ip -4 addr flush dev eth0; ip addr add $ip/$mask dev eth0
	ip route replace $router dev eth0; ip route replace default via $router ;;
esac
`), 0o700); err != nil {
		t.Fatal(err)
	}
	client := exec.Command("ip", "netns", "exec", ns, "busybox", "udhcpc", "-f", "-i", "eth0", "-s", script, "-t", "30", "-T", "1")
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Process.Kill(); client.Wait() })
	has := func(ip string) {
		t.Helper()
		var have string
		for began := time.Now(); time.Since(began) < 60*time.Second; time.Sleep(50 * time.Millisecond) {
			if have = run(t, "ip", "-4", "-n", ns, "-br", "address", "show", "dev", "eth0"); strings.Contains(have, " "+ip+"/24") {
				return
			}
		}
		t.Fatalf("%s was not given by DHCP: %s", ip, have)
	}
	has("10.0.2.4")
	l.put(tenant, network+"networkInterfaces/own", `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"one","properties":{"subnet":{"id":"`+
		l.path(tenant, network+"virtualNetworks/v/subnets/b")+`"},"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.2.77"}}]}}`)
	if err := client.Process.Signal(syscall.SIGUSR1); err != nil { // what ip started it has become
		t.Fatal(err)
	}
	has("10.0.2.77")
}
