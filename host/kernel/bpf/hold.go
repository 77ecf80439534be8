package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Hold keeps pinned links open. A pin is a file, and anybody may remove a file: the last user of a link that goes takes its program off
// the device. As long as the process holds it, the program stays where it is, and the pin can be put back. It is not safe for concurrent use.
type Hold struct{ links map[string]link.Link }

// Take holds the link at pin, and lets go of the one that was held for that path before.
func (h *Hold) Take(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return fmt.Errorf("hold link %s: %w", pin, err)
	}
	h.Drop(pin)
	if h.links == nil {
		h.links = map[string]link.Link{}
	}
	h.links[pin] = l
	return nil
}

// Drop lets go of a link; one that is pinned stays.
func (h *Hold) Drop(pin string) {
	if l := h.links[pin]; l != nil {
		l.Close()
		delete(h.links, pin)
	}
}

// Close lets go of all.
func (h *Hold) Close() {
	for pin := range h.links {
		h.Drop(pin)
	}
}

// Restore puts back the pin of a held link that somebody removed, and tells whether there was such a one.
func (h *Hold) Restore(pin string) (bool, error) {
	l := h.links[pin]
	if l == nil {
		return false, nil
	}
	put, err := repin(l, pin)
	if err != nil {
		return false, fmt.Errorf("pin link %s again: %w", pin, err)
	}
	return put, nil
}

// RestoreAll does so for every held link and lists the pins that were put back.
func (h *Hold) RestoreAll() (put []string, err error) {
	for pin := range h.links {
		again, one := h.Restore(pin)
		if again {
			put = append(put, pin)
		}
		err = errors.Join(err, one)
	}
	return put, err
}

// RestoreMap pins a map again whose pin somebody removed.
func RestoreMap(m *ebpf.Map, pin string) (bool, error) {
	put, err := repin(m, pin)
	if err != nil {
		return false, fmt.Errorf("pin map %s again: %w", pin, err)
	}
	return put, nil
}

type pinned interface {
	Pin(string) error
	Unpin() error
}

func repin(p pinned, pin string) (bool, error) {
	if _, err := os.Stat(pin); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := p.Unpin(); err != nil && !errors.Is(err, fs.ErrNotExist) { // it believes to be pinned there
		return false, err
	}
	return true, p.Pin(pin)
}
