package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress shows the step that is being done, on a terminal only.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	on    bool
	step  string
	since time.Time
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok {
		return &progress{w: w}
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &progress{w: w, on: err == nil}
}

// begin replaces the line by another step.
func (p *progress) begin(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on {
		return
	}
	p.step, p.since = fmt.Sprintf(format, args...), time.Now()
	fmt.Fprintf(p.w, "\r\x1b[K%s …", p.step)
}

// done clears the line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.on && p.step != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.step = ""
	}
}
