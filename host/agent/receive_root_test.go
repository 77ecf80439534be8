package agent

import (
	"fmt"
	"os"
	"testing"

	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// Segments are put together once: at the tunnel only where nothing below it does.
func TestReceiveOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ns, other := fmt.Sprintf("rfgro%da", os.Getpid()), fmt.Sprintf("rfgro%db", os.Getpid())
	for _, n := range []string{ns, other} {
		if err := netns.New(n); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { netns.Delete(n) })
	}
	err := netdev.With(ns, func(c *netdev.Conn) error {
		if _, _, err := c.EnsureVeth(netdev.Veth{Name: "pair", MTU: 1600, Peer: netdev.Peer{Namespace: other, Name: "pair", MTU: 1600}}); err != nil {
			return err
		}
		if _, err := c.EnsureBridge("card", 1600); err != nil { // a device that is no veth
			return err
		}
		if _, err := c.EnsureVXLAN(tunnelDevice, tunnelPort, 1550); err != nil {
			return err
		}
		for _, step := range []struct {
			underlay  string
			gro, want bool
		}{{"card", true, false}, {"card", false, true}, {"pair", false, false}, {"pair", true, false}, {"card", false, true}} {
			if err := c.SetGRO(step.underlay, step.gro); err != nil {
				return err
			}
			if err := receiveOnce(c, step.underlay); err != nil {
				return err
			}
			if got, err := c.GRO(tunnelDevice); err != nil || got != step.want {
				t.Errorf("above %s with GRO %v: %v, %v, want %v", step.underlay, step.gro, got, err, step.want)
			}
		}
		if err := receiveOnce(c, "absent"); err == nil {
			t.Error("an underlay that is not there")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
