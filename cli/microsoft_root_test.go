package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// program is the binary that the tests run, built once.
var program struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if program.dir != "" {
		os.RemoveAll(program.dir)
	}
	os.Exit(code)
}

func build(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "ringfence"); program.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(program.dir, "ringfence"), "ringfence/cmd/ringfence").CombinedOutput()
		if err != nil {
			program.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return filepath.Join(program.dir, "ringfence")
}

// Microsoft's own templates, deployed unchanged for two tenants at once: real packets meet exactly what Azure would let through.
func TestMicrosoftTemplates(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a lab needs root")
	}
	binary := build(t)
	for i, name := range []string{"nsg-dmz-in-vnet", "vnet-two-subnets", "security-group-create"} {
		t.Run(name, func(t *testing.T) {
			templates := filepath.Join("..", "intent", "template", "testdata", "microsoft", name)
			mine := filepath.Join("testdata", "microsoft", name)
			lab := fmt.Sprintf("m%dx%d", os.Getpid(), i)
			out, err := exec.Command(binary, "demo", "--name", lab, "--template", templates+".json", "--parameters", templates+".parameters.json",
				"--machines", mine+".machines.txt", "--expected", mine+".expected.txt").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "; 0 differ.") || !strings.Contains(string(out), " yes  ") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// The check finds what is wrong: with one expectation turned around it fails and names the cells.
func TestDemoFindsADifference(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a lab needs root")
	}
	binary := build(t)
	mine := filepath.Join("testdata", "microsoft", "vnet-two-subnets")
	text, err := os.ReadFile(mine + ".expected.txt")
	if err != nil {
		t.Fatal(err)
	}
	line := "two       one       yes     yes       yes     yes"
	wrong := strings.Replace(string(text), line, "two       one       yes     no        yes     yes", 1)
	if wrong == string(text) {
		t.Fatalf("%q is not in the expectations", line)
	}
	file := filepath.Join(t.TempDir(), "expected.txt")
	if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "demo", "--name", fmt.Sprintf("d%dx", os.Getpid()), "--template",
		filepath.Join("..", "intent", "template", "testdata", "microsoft", "vnet-two-subnets.json"), "--machines", mine+".machines.txt", "--expected", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "4 of ") || !strings.Contains(string(out), "<<<") || !strings.Contains(string(out), "two1") {
		t.Errorf("%v\n%s", err, out)
	}
}
