package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Place is where in the list of a device's programs a link stands.
type Place int

const (
	First Place = iota
	Last
	Sent // first of what looks at frames that the host sends there; the others look at those that come in
)

// Attach puts p on the device and pins the link at pin. A link that is pinned there already and still on the
// device gets the program in one step, without a moment in which none is attached.
func Attach(p *ebpf.Program, ifindex int, place Place, pin string) error {
	old, err := link.LoadPinnedLink(pin, nil)
	switch {
	case err == nil:
		defer old.Close()
		if on, err := device(old); err == nil && on == ifindex {
			if err := old.Update(p); err != nil {
				return fmt.Errorf("replace program at %s: %w", pin, err)
			}
			return nil
		}
		if err := Detach(pin); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("pinned link %s: %w", pin, err)
	}
	anchor, way := link.Head(), ebpf.AttachTCXIngress
	switch place {
	case Last:
		anchor = link.Tail()
	case Sent:
		way = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: p, Attach: way, Anchor: anchor})
	if err != nil {
		return fmt.Errorf("attach to device %d: %w", ifindex, err)
	}
	defer l.Close()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin link %s: %w", pin, err)
	}
	return nil
}

// Device is the device that a pinned link is on, 0 when that is gone or nothing is pinned.
func Device(pin string) int {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return 0
	}
	defer l.Close()
	on, err := device(l)
	if err != nil {
		return 0
	}
	return on
}

func device(l link.Link) (int, error) {
	i, err := l.Info()
	if err != nil {
		return 0, fmt.Errorf("link: %w", err)
	}
	t := i.TCX()
	if t == nil {
		return 0, errors.New("link: not tcx")
	}
	return int(t.Ifindex), nil
}

// Detach removes a pinned link; nothing there is no error. The program leaves the device with the link's last user.
func Detach(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pinned link %s: %w", pin, err)
	}
	defer l.Close()
	if err := os.Remove(pin); err != nil {
		return fmt.Errorf("unpin link: %w", err)
	}
	return nil
}
