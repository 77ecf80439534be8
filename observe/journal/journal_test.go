package journal

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A line that comes with every packet is written a few times and then counted; others go on, and none is lost without a trace.
func TestRepeatedLines(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	l := New(&out, "", "host", "host1")
	l.Handler().(handler).limits.now = func() time.Time { return now }
	dhcp := Component(l, "dhcp")
	for range 1000 {
		dhcp.Warn("receive", "error", "no luck")
	}
	dhcp.Info("receive")
	Component(l, "dns").Error("another")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != burst+2 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !strings.Contains(line, " host=host1 ") || !strings.Contains(line, " component=d") {
			t.Errorf("a line that does not say whose it is: %s", line)
		}
	}
	out.Reset()
	now = now.Add(window)
	dhcp.Warn("receive")
	if text := out.String(); !strings.Contains(text, "omitted=980") {
		t.Errorf("what was left out is not said: %s", text)
	}
	out.Reset()
	dhcp.Warn("receive")
	if text := out.String(); strings.Contains(text, "omitted") {
		t.Errorf("said twice: %s", text)
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[string]int{"": 0, "info": 0, "debug": 3 * burst, "error": 0} {
		var out bytes.Buffer
		l := New(&out, level)
		for range 3 * burst {
			l.Debug("step")
		}
		if n := strings.Count(out.String(), "\n"); n != want {
			t.Errorf("%q: %d lines, want %d", level, n, want)
		}
		if level == "error" && l.Enabled(t.Context(), slog.LevelWarn) {
			t.Error("warnings at level error")
		}
	}
}
