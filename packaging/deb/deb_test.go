package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence/machine"
)

func build(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "ringfence")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, "ringfence/cmd/ringfence")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// The same input gives the same bytes, dpkg can install it into an empty root, and what is there is what it should be.
func TestPackage(t *testing.T) {
	binary, dir := build(t), t.TempDir()
	p := pack{time: time.Unix(1700000000, 0).UTC(), files: map[string]file{}}
	if err := p.collect(binary, "../systemd"); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "r.deb")
	if err := p.write(out, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	again := pack{time: p.time, files: map[string]file{}}
	if err := again.collect(binary, "../systemd"); err != nil {
		t.Fatal(err)
	}
	same(t, p, again, dir)
	list, err := exec.Command("dpkg-deb", "--contents", filepath.Join(dir, "r.deb")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	for _, want := range []string{"-rwxr-xr-x root/root", "./usr/bin/ringfence", "./lib/systemd/system/ringfence.service", "./lib/systemd/system/ringfence-agent.service",
		"./lib/systemd/system/ringfence-server.service", "./usr/share/man/man1/ringfence-up.1.gz", "./usr/share/man/man1/ringfence-agent.1.gz",
		"./usr/share/man/man1/ringfence-server-list.1.gz", "./usr/share/man/man1/ringfence-host-add.1.gz", "./usr/share/bash-completion/completions/ringfence"} {
		if !strings.Contains(string(list), want) {
			t.Errorf("lacks %s", want)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("installing takes root")
	}
	install(t, dir)
}

// same compares two packages without their program, which takes long to compress.
func same(t *testing.T, a, b pack, dir string) {
	t.Helper()
	var all [][]byte
	for i, p := range []pack{a, b} {
		program := p.files["usr/bin/ringfence"]
		p.files["usr/bin/ringfence"] = file{program.body[:1000], program.mode}
		out := filepath.Join(dir, string(rune('a'+i)))
		if err := p.write(out, "1.2.3"); err != nil {
			t.Fatal(err)
		}
		body, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, body)
	}
	if !bytes.Equal(all[0], all[1]) {
		t.Error("two packages of one program differ")
	}
}

func install(t *testing.T, dir string) {
	root := filepath.Join(dir, "root")
	for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "bin"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// the scripts are not run: there is no shell in that root
	if out, err := exec.Command("dpkg", "--root="+root, "--force-script-chrootless", "--log=/dev/null", "-i", filepath.Join(dir, "r.deb")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(filepath.Join(root, "usr/bin/ringfence"), "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "ringfence") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := machine.Load(filepath.Join(root, "usr/share/doc/ringfence/examples/ringfence.yaml")); err != nil {
		t.Errorf("the example: %v", err)
	}
}

// systemd itself has nothing to say against the units. The program's path is one that exists here.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("systemd-analyze is missing: make deps")
	}
	dir := t.TempDir()
	units, err := filepath.Glob("../systemd/*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("%v %v", units, err)
	}
	for _, u := range units {
		b, err := os.ReadFile(u)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "ExecStart=/usr/bin/ringfence ") {
			t.Errorf("%s starts something else", u)
		}
		b = bytes.Replace(b, []byte("/usr/bin/ringfence"), []byte("/bin/true"), 1)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(u)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range units {
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, filepath.Base(u))).CombinedOutput()
		for _, line := range strings.Split(string(out), "\n") {
			if strings.Contains(line, "ringfence") {
				t.Errorf("%s: %s", filepath.Base(u), line)
			}
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(u), err, out)
		}
	}
}

// What serves machines gives its privileges up, and outlives the agent: the units must let it.
func TestUnitsLetServicesLive(t *testing.T) {
	for _, unit := range []string{"ringfence-agent.service", "ringfence.service"} {
		b, err := os.ReadFile(filepath.Join("..", "systemd", unit))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\nKillMode=process\n", " CAP_SETGID ", " CAP_SETUID "} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s lacks %q", unit, want)
			}
		}
	}
}
