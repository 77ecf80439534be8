package e2e

import (
	"strings"
	"testing"
	"time"
)

// A device that is deleted under the agent is noticed at once, not with the next look at everything: the port is made anew and works again.
func TestDeviceIsDeleted(t *testing.T) {
	const tenant = "contoso"
	l := newLab(t, 1)
	l.vnet(tenant)
	l.vm(tenant, "a1", "a", "host1")
	l.vm(tenant, "b1", "b", "host1")
	l.ping(true, tenant, "b1", "10.0.1.4")
	host := l.State.Hosts[0].Netns
	run(t, "ip", "-n", host, "link", "del", "rfp1")
	began := time.Now()
	for time.Since(began) < 15*time.Second { // the next look at everything may be 30 s away
		if out, _, err := l.try("vm", "exec", "-g", "g", "--as", tenant, "b1", "--", "ping", "-c", "1", "-W", "1", "10.0.1.4"); err == nil {
			t.Logf("back after %v: %s", time.Since(began), strings.TrimSpace(out))
			return
		}
	}
	t.Error("a port whose device was deleted does not come back")
}
