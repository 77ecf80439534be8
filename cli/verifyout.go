package cli

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// painter writes text for people, in colours on a terminal only.
type painter struct {
	w  io.Writer
	on bool
}

func newPainter(w io.Writer) *painter {
	p := &painter{w: w}
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		p.on = err == nil
	}
	return p
}

func (p *painter) paint(colour int, s string) string {
	if !p.on {
		return s
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, s)
}

const (
	red    = 31
	green  = 32
	yellow = 33
	faint  = 2
)

func (p *painter) printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

// formatted prints what was found as -o says: text for people, JSON or YAML of a value, or one of the formats of CI systems.
func (a *app) formatted(v any, people func(), ci func(format string) ([]byte, error)) error {
	switch a.flags.Output {
	case "junit", "sarif":
		text, err := ci(a.flags.Output)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	case "", "table":
		if a.flags.Query == "" {
			a.progress.done()
			people()
			return nil
		}
	}
	return a.print(generic(v))
}

// writeFile writes a file or, as "-", standard output.
func (a *app) writeFile(name string, text []byte) error {
	if name == "-" {
		_, err := a.out.Write(text)
		return err
	}
	return os.WriteFile(name, text, 0o644)
}
