package datapath

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence/goal"
)

// programs compiles the sources with one text replaced.
func programs(t *testing.T, file, old, new string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("bpf")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s: %q is not there: %v", file, old, err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Replace(string(text), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "build.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(dir, "build.sh"), dir).CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	object, err := os.ReadFile(filepath.Join(dir, "datapath.o"))
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// denyAll makes every rule group deny what is new: what passes from then on passes by its flow.
func denyAll(g *goal.Host) {
	any := []goal.PortRange{goal.AnyPort}
	rule := goal.Rule{Name: "securityRules/none", Priority: 100, Src: goal.Match{Any: true}, Dst: goal.Match{Any: true}, SrcPorts: any, DstPorts: any}
	for i := range g.Groups {
		g.Groups[i].In, g.Groups[i].Out = []goal.Rule{rule}, []goal.Rule{rule}
	}
}

// replaced has h's programs replaced by others, as an agent of another version does it.
func (w *wire) replaced(h *wireHost, object []byte, layout string) {
	w.t.Helper()
	w.must(h.dp.Close())
	h.opts.Object, h.opts.Layout = object, layout
	h.opts.Log = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	w.open(h)
	next := *h.goal
	next.Generation++
	w.apply(h, &next)
}

// The whole set of programs is replaced under traffic, by another one on the same maps and by one that lays its flows out otherwise, there and
// back, and the process dies at every step: established flows lose nothing, though the rules do not allow them any more, nothing that is denied
// gets through, and nothing of the replaced sets is left.
func TestProgramsAreReplaced(t *testing.T) {
	w, a, b := pair(t, 2)
	stop := make(chan struct{})
	sent, back := echoes(t, a, b, "10.0.0.5", 2*time.Millisecond, stop)
	time.Sleep(200 * time.Millisecond)
	for _, h := range w.hosts {
		next := *h.goal
		next.Groups = append([]goal.Group(nil), next.Groups...)
		next.Generation++
		denyAll(&next)
		w.apply(h, &next)
	}
	bytes := programs(t, "overlay.h", "#define QUOTED 160", "#define QUOTED 152")
	wide := programs(t, "state.h", "struct flow {\n", "struct flow {\n\tu64 spare[2];\n")
	closed := func(at string) {
		t.Helper()
		if out, err := a.run("ping", "-c", "2", "-i", "0.05", "-W", "1", "10.0.0.5"); err == nil {
			t.Errorf("%s: what is denied gets through:\n%s", at, out)
		}
	}
	whole := func(at string) {
		t.Helper()
		time.Sleep(100 * time.Millisecond)
		if s, r := sent(), back(); s-r > 3 { // on their way
			t.Errorf("%s: %d of %d datagrams are lost", at, s-r, s)
		}
	}
	for _, round := range []struct {
		name   string
		object []byte
		layout string
	}{{"other programs", bytes, ""}, {"own programs", nil, ""}, {"other layout", wide, "other"}, {"own layout", nil, ""}} {
		for _, h := range w.hosts {
			w.replaced(h, round.object, round.layout)
			whole(round.name)
		}
		closed(round.name)
	}
	died := errors.New("died")
	h, object, layout := w.hosts[0], []byte(nil), ""
	for _, step := range []string{"copied", "marked", "link", "relinked", "late"} {
		if object, layout = wide, "other"; h.opts.Layout == "other" {
			object, layout = nil, ""
		}
		w.must(h.dp.Close())
		h.opts.Object, h.opts.Layout = object, layout
		h.opts.dies = func(at string) error {
			if at == step {
				return died
			}
			return nil
		}
		w.open(h)
		next := *h.goal
		next.Generation++
		if err := h.dp.Apply(context.Background(), &next, h.device); !errors.Is(err, died) {
			t.Fatalf("%s: %v", step, err)
		}
		whole("dead when " + step)
		h.opts.dies = nil
		w.replaced(h, object, layout)
		whole("successor of one dead when " + step)
	}
	closed("in the end")
	close(stop)
	time.Sleep(200 * time.Millisecond)
	if s, r := sent(), back(); s != r || s < 300 {
		t.Errorf("%d datagrams sent, %d came back", s, r)
	}
	for _, h := range w.hosts {
		left, err := filepath.Glob(filepath.Join(h.opts.Pin, "*"))
		if err != nil || len(left) != 2 {
			t.Errorf("pins: %v, %v", left, err)
		}
	}
}
