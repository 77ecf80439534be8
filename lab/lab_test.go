package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, bad := range []string{"a-b", "A", "", "a/b", "..", strings.Repeat("a", 17), "ä"} {
		if err := checkName(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	for _, good := range []string{"lab", "a", "0", strings.Repeat("a", 16)} {
		if err := checkName(good); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	for want, c := range map[string]Config{
		`lab name "a-b"`: {Name: "a-b"},
		"hosts -1":       {Hosts: -1},
		"hosts 201":      {Hosts: 201},
	} {
		if err := c.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q expected, got %v", want, err)
		}
	}
}

func TestCheckKernel(t *testing.T) {
	for release, ok := range map[string]bool{
		"6.6.0": true, "6.18.44-fc": true, "7.0-rc1": true, "6.5.99": false, "5.15.0-generic": false, "6": false, "": false,
	} {
		if err := checkKernel(release); (err == nil) != ok {
			t.Errorf("%q: %v", release, err)
		}
	}
}

func TestGUID(t *testing.T) {
	a := guid("tenant", "lab", "contoso")
	if len(a) != 36 || a[14] != '5' || a != guid("tenant", "lab", "contoso") {
		t.Errorf("got %s", a)
	}
	if a == guid("tenant", "labc", "ontoso") {
		t.Error("parts run into each other")
	}
}

func TestNodes(t *testing.T) {
	s := newState(Config{Name: "x", Hosts: 2}, "127.0.0.1:1")
	if s.Hosts[1].Underlay != "198.18.0.12" || s.Hosts[1].Uplink != "203.0.113.12" || s.Hosts[1].Netns != "rf-x-host2" {
		t.Errorf("got %+v", s.Hosts[1])
	}
	if ns, err := s.Netns("internet"); err != nil || ns != "rf-x-internet" {
		t.Errorf("got %s, %v", ns, err)
	}
	if _, err := s.Netns("host3"); err == nil || !strings.Contains(err.Error(), "internet, host1, host2") {
		t.Errorf("got %v", err)
	}
}

func TestNotReadySaysWhy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(strings.Repeat("earlier\n", 2000)+"the last words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &State{Processes: []Process{{Name: "server", Log: file}, {Name: "host1", Log: file}}}
	for want, got := range map[string]error{
		"host host1 is not connected":                       notReady(s, []hostStatus{{Name: "host1"}}, nil),
		"host host1 is connected, but has no goal in force": notReady(s, []hostStatus{{Name: "host1", Connected: true}}, nil),
		"host host1: no space":                              notReady(s, []hostStatus{{Name: "host1", Connected: true, Problem: "no space"}}, nil),
		"the log of server ends":                            notReady(s, nil, errors.New("no answer")),
	} {
		if text := got.Error(); !strings.Contains(text, want) || !strings.HasSuffix(text, "the last words") || strings.Count(text, "earlier") > 12 {
			t.Errorf("got %q, want %q", text, want)
		}
	}
	if got := logTail("/nonexistent/log"); !strings.Contains(got, "no such file") {
		t.Errorf("got %q", got)
	}
}

func TestStatusLines(t *testing.T) {
	if p := (Process{PID: 1 << 30}); p.Running() {
		t.Error("a process that cannot be runs")
	}
}
