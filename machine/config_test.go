package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const whole = `name: host1
api: {listen: 127.0.0.1:8443, names: [api.example]}
control: {listen: 192.0.2.1:7443}
peers: {listen: 192.0.2.1:7444}
host:
  underlay: {device: eth1, address: 192.0.2.1}
  uplink: {device: eth0}
pools: {vni: {first: 1000, last: 1999}}
prefix_lists: {Storage: [203.0.113.0/28]}
dns_forwarders: [192.0.2.53]
tenants:
- {name: contoso, id: t, token: 0123456789abcdef, subscriptions: [{id: s, name: contoso}]}
`

func TestConfig(t *testing.T) {
	c, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	s, a := c.serverConfig(), c.agentConfig()
	if c.DataDir != DefaultDataDir || s.Listen != "127.0.0.1:8443" || s.FirstVNI != 1000 || s.LastVNI != 1999 || a.Underlay.Device != "eth1" || a.Server != "192.0.2.1:7443" {
		t.Errorf("%+v\n%+v\n%+v", c, s, a)
	}
	if names, ips := c.apiNames(); strings.Join(names, " ") != "localhost api.example" || len(ips) != 2 {
		t.Errorf("%v %v", names, ips)
	}
}

// Every fault is said at once, with its path, its value and what was expected; each once.
func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	bad := strings.NewReplacer("host1", "Host_1", "127.0.0.1:8443", "nowhere", "listen: 192.0.2.1:7443", "listen: 0.0.0.0:7443", "eth1", "''", "last: 1999", "last: 9",
		"203.0.113.0/28", "203.0.113.1/28", "192.0.2.53", "dns", "name: contoso, id", "name: '', id").Replace(whole) +
		"log: loud\nheal_after: 1s\ncolour: blue\nrun_dir: run\n"
	_, err := Parse([]byte(bad))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`name "Host_1"`, `api.listen "nowhere"`, `control.listen "0.0.0.0:7443"`, `host.underlay.device ""`, `pools.vni "1000 to 9"`,
		`prefix_lists.Storage[0]`, `dns_forwarders[0] "dns"`, `tenants:`, `log "loud"`, `heal_after "1s"`, `run_dir "run"`, "colour"} {
		if n := strings.Count(err.Error(), want); n != 1 {
			t.Errorf("%d times %s in:\n%v", n, want, err)
		}
	}
}

func TestConfigOfWrongTypes(t *testing.T) {
	_, err := Parse([]byte(strings.NewReplacer("first: 1000", "first: many", "address: 192.0.2.1", "address: nonsense").Replace(whole) + "api: 7\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	_, err = Parse([]byte(strings.NewReplacer("first: 1000", "first: many", "[192.0.2.53]", "7").Replace(whole)))
	if err == nil || !strings.Contains(err.Error(), "many") || !strings.Contains(err.Error(), "line 8") || !strings.Contains(err.Error(), "line 10") {
		t.Errorf("both, with their lines: %v", err)
	}
	if _, err := Parse(nil); err == nil || !strings.Contains(err.Error(), "name") || !strings.Contains(err.Error(), "api.listen") {
		t.Errorf("an empty file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("name: [\n"))
	f.Add([]byte("host: {}\npools: {vni: {}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err == nil && (c.Name == "" || c.DataDir == "") {
			t.Fatalf("%+v was accepted", c)
		}
	})
}

// What somebody without a configuration is shown is one.
func TestExampleIsAConfiguration(t *testing.T) {
	c, err := Parse([]byte(Example("host1", "eth1", "192.0.2.7")))
	if err != nil || c.Host == nil {
		t.Fatalf("%+v, %v", c, err)
	}
	var out strings.Builder
	if err := Explain(&out, DefaultFile); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{DefaultFile, DefaultDataDir, "6.6", "ringfence lab up"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %s:\n%s", want, out.String())
		}
	}
}

// The table in docs/configuration.md names every field of the file.
func TestEveryFieldIsDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields() {
		if !strings.Contains(string(b), "| `"+f.Path+"` | "+f.Text+" |") {
			t.Errorf("docs/configuration.md lacks, or says otherwise: | `%s` | %s |", f.Path, f.Text)
		}
	}
	if len(Fields()) < 24 {
		t.Errorf("only %d fields were found", len(Fields()))
	}
}
