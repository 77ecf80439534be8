// Package journal is where the long-lived processes write their log lines.
//
// In: a writer, a level, and who the process is. Out: a logger whose lines all say that, and a component when Component was asked for
// one; a line that comes again and again is written a few times and then counted, so that no packet, question or broken client decides
// how much is written. Server and agent own one each.
package journal

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Bounds of lines with one level and text.
const (
	burst  = 20
	kinds  = 1000
	window = 10 * time.Second
)

// New returns a logger of a level's name (empty: info); who are the attributes of every line.
func New(w io.Writer, level string, who ...any) *slog.Logger {
	var l slog.Level
	if level != "" {
		l.UnmarshalText([]byte(level)) // checked with the configuration
	}
	limits := &limits{now: time.Now, seen: map[line]*count{}}
	return slog.New(handler{slog.NewTextHandler(w, &slog.HandlerOptions{Level: l}), limits}).With(who...)
}

// Component is the logger of a part of the process.
func Component(l *slog.Logger, name string) *slog.Logger { return l.With("component", name) }

// handler lets a line through unless there were too many of its kind.
type handler struct {
	slog.Handler
	limits *limits
}

type line struct {
	level slog.Level
	text  string
}

type count struct {
	began            time.Time
	written, omitted int
}

type limits struct {
	now  func() time.Time
	mu   sync.Mutex
	seen map[line]*count // at most kinds: nearly all texts are constants of the program
}

// take tells whether a line may be written, and how many of its kind were left out before it.
func (l *limits) take(k line) (omitted int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.seen[k]
	if c == nil {
		if len(l.seen) >= kinds {
			clear(l.seen)
		}
		c = &count{began: l.now()}
		l.seen[k] = c
	}
	if l.now().Sub(c.began) >= window {
		omitted = c.omitted
		*c = count{began: l.now()}
	}
	if c.written == burst {
		c.omitted++
		return 0, false
	}
	c.written++
	return omitted, true
}

// Handle writes a line, or counts it. What is asked for with the level debug is written whole.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		omitted, ok := h.limits.take(line{r.Level, r.Message})
		if !ok {
			return nil
		}
		if omitted > 0 {
			r.AddAttrs(slog.Int("omitted", omitted))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the limits.
func (h handler) WithAttrs(a []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(a), h.limits}
}

// WithGroup keeps the limits.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.limits}
}
