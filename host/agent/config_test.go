package agent

import (
	"strings"
	"testing"
)

const whole = `name: host1
server: 198.18.1.1:7443
server_name: ringfence-publish
ca: /c/ca.pem
cert: /c/agent.pem
key: /c/agent.key
underlay: {device: under0, address: 198.18.0.11}
uplink: {device: up0}
run_dir: /run/x
bpffs: /sys/fs/bpf/x
instance: lab
`

func TestConfig(t *testing.T) {
	c, err := ParseConfig([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if c.CA != "/c/ca.pem" || c.Underlay.Address.String() != "198.18.0.11" || c.Uplink.Device != "up0" {
		t.Errorf("%+v", c)
	}
}

// Every fault is said at once, with field, value and what was expected.
func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	bad := strings.NewReplacer("host1", "Host_1", "198.18.1.1:7443", "nowhere", "/run/x", "run", "under0", "''").Replace(whole) + "capacity: -1\nlog: loud\nrelearn_flows: 11m\n"
	_, err := ParseConfig([]byte(bad))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`name "Host_1"`, `server "nowhere"`, `run_dir "run"`, `underlay.device ""`, `capacity "-1"`, `log "loud"`, `relearn_flows "11m"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if _, err := ParseConfig([]byte(whole + "colour: blue\n")); err == nil || !strings.Contains(err.Error(), "colour") {
		t.Errorf("an unknown field: %v", err)
	}
	if _, err := ParseConfig([]byte(strings.Replace(whole, "198.18.0.11", "nonsense", 1))); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a bad address: %v", err)
	}
}
