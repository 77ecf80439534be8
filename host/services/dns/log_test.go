package dns

import (
	"log/slog"
	"strings"
)

type lines func(string)

func (l lines) Write(b []byte) (int, error) { l(strings.TrimSpace(string(b))); return len(b), nil }

// logTo is a log that a test reads.
func logTo(f func(string)) *slog.Logger { return slog.New(slog.NewTextHandler(lines(f), nil)) }
