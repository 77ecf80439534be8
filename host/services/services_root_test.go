package services_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
	"ringfence/host/services"
)

func TestEnsureAndRemove(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	instance, host := fmt.Sprintf("rftestsvc%d", os.Getpid()), "h"
	ns := "rftest-svc-host-" + fmt.Sprint(os.Getpid())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netns.New(ns))
	defer netns.Delete(ns)
	defer netns.Delete(services.Namespace(instance, host))
	ensure := func() (link services.Link) {
		t.Helper()
		must(netns.Do(ns, func() (err error) {
			link, err = services.Ensure(instance, host)
			return err
		}))
		return link
	}
	first := ensure()
	if again := ensure(); again != first {
		t.Errorf("a second time: %+v, then %+v", first, again)
	}
	for space, device := range map[string]string{ns: services.Device, first.Namespace: services.Inside} {
		must(netdev.With(space, func(c *netdev.Conn) error {
			l, ok, err := c.Link(device)
			if !ok || !l.Up {
				t.Errorf("%s: %+v", device, l)
			}
			if addrs, err := c.Addresses(device); err != nil || len(addrs) > 0 {
				t.Errorf("%s has addresses %v, %v", device, addrs, err)
			}
			if _, has, _ := c.LinkLocal(device); has {
				t.Errorf("%s speaks IPv6", device)
			}
			return err
		}))
	}
	// The service namespace lost, as by a hand: both are made again.
	must(netns.Delete(first.Namespace))
	if healed := ensure(); healed == first {
		t.Error("a pair whose other end is gone was kept")
	}
	must(netns.Do(ns, func() error { return services.Remove(instance, host) }))
	must(netns.Do(ns, func() error { return services.Remove(instance, host) }))
	if netns.Exists(first.Namespace) {
		t.Error("the service namespace is left")
	}
	must(netdev.With(ns, func(c *netdev.Conn) error {
		list, err := c.List("rf")
		if len(list) > 0 {
			t.Errorf("devices left: %+v", list)
		}
		return err
	}))
	if n := services.Namespace("lab", "host1"); n != "rf-lab-host1-svc" || strings.Contains(n, "/") {
		t.Errorf("named %s", n)
	}
}
