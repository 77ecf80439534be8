package lab

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringfence/host/agent"
	"ringfence/server"
)

// The programs read what the lab writes for them, field by field: their configurations are strict.
func TestProgramsReadTheirConfiguration(t *testing.T) {
	c := Config{Name: "x", Hosts: 2, PrefixLists: map[string][]string{"Storage": {"20.38.98.0/24", "2603:1020::/48"}}, Locations: []string{"westeurope"}}
	s := newState(c, "127.0.0.1:4443")
	dir := t.TempDir()
	s.RunDir, s.CA = dir, filepath.Join(dir, "ca.pem")
	for i := range s.Hosts {
		s.Hosts[i].RunDir = filepath.Join(dir, s.Hosts[i].Name)
	}
	if err := writeConfig(c, s, "127.0.0.1:4443", time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg, err := server.LoadConfig(serverFile(s))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Tenants) != 2 || len(cfg.PrefixLists["Storage"]) != 2 || cfg.Locations[0] != "westeurope" {
		t.Errorf("the server reads %+v", cfg)
	}
	for _, h := range s.Hosts {
		a, err := agent.LoadConfig(agentFile(h))
		if err != nil {
			t.Fatal(err)
		}
		if a.Name != h.Name || a.Underlay.Address.String() != h.Underlay || a.Uplink.Device != uplinkDevice {
			t.Errorf("the agent of %s reads %+v", h.Name, a)
		}
		if _, err := a.ClientTLS(a.ServerName); err != nil {
			t.Error(err)
		}
		st, err := os.Stat(a.Key)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("key of %s: %v, %v", h.Name, st.Mode(), err)
		}
	}
	if _, err := cfg.Publish.ServerTLS(); err != nil {
		t.Error(err)
	}
}
