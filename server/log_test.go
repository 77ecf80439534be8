package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every line of a server says which server and which part of it wrote it.
func TestLogLinesSayWhose(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := os.Stderr
	os.Stderr = f
	defer func() { os.Stderr = before }()
	p := newProcess(t)
	p.c.Log = "debug"
	stop := p.start()
	enforced := p.agent("host1")
	eventually(t, "host1 has a goal", func() bool { return enforced.Load() > 0 })
	p.put(group, `{"location":"westeurope"}`)
	stop()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		_, part, ok := strings.Cut(line, " component=")
		if !ok || !strings.Contains(line, " server=") || strings.Count(line, " component=") != 1 {
			t.Errorf("whose is this: %s", line)
		}
		parts[strings.Fields(part + " ?")[0]] = true
	}
	for _, want := range []string{"server", "publish", "api"} {
		if !parts[want] {
			t.Errorf("no line of %s: %v", want, parts)
		}
	}
}
