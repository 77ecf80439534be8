package publish

import (
	"os/exec"
	"testing"
)

// Two builds are told apart.
func TestVersion(t *testing.T) {
	if v := Version(); v == "" || v == "dev" {
		t.Errorf("this program is %q", v)
	}
	own := buildID("/proc/self/exe")
	if other := buildID(goProgram(t)); own == "" || other == own {
		t.Errorf("own %q, another program's %q", own, other)
	}
	if buildID("/etc/passwd") != "" || buildID("/nonexistent") != "" {
		t.Error("what is no program has a build")
	}
}

// goProgram is a Go program that is surely there.
func goProgram(t *testing.T) string {
	path, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
