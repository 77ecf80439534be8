// Package serving runs the host's services for VMs (DHCP, names, metadata) in a process of their own and keeps that running.
//
// In: goals from the agent. Out: one process per host, started by the agent's own program file, that answers VMs whether the agent
// lives or not; a fresh agent takes it over as it is. The agent's end is the Keeper, the process's is Run. Only what services
// answer from crosses between them; the process holds no privilege once its sockets are open, because it reads what guests send.
package serving

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Options say whose services these are. They are the same on both ends.
type Options struct {
	Dir       string // where the socket and the lock lie; only root may enter it
	Host      string // in log lines
	Namespace string // the service namespace
	Level     string // of the log
	Log       *slog.Logger
}

func (o Options) socket() string { return filepath.Join(o.Dir, "services.sock") }
func (o Options) lock() string   { return filepath.Join(o.Dir, "services.lock") }

// listenerFD is where the process finds the socket that the agent opened for it.
const listenerFD = 3

// nobody owns the process once its sockets are open.
const nobody = 65534

// Run is the life of the process, in the host's network namespace. It ends with ctx or when an agent says so.
func Run(ctx context.Context, o Options) error {
	file := os.NewFile(listenerFD, "services.sock")
	if file == nil {
		return errors.New("services: to be started by an agent")
	}
	l, err := net.FileListener(file)
	file.Close()
	if err != nil {
		return fmt.Errorf("services: to be started by an agent: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // another process may serve under the name by then
	defer l.Close()
	held, err := hold(o.lock())
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	defer held.Close()
	p, err := newProcess(o)
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	defer p.served.close()
	p.renounce = renounce
	return p.run(ctx, l)
}

type process struct {
	o        Options
	id       hello
	served   *served
	renounce func() error // gives up what is needed for opening only; nil when done
}

func newProcess(o Options) (*process, error) {
	name, err := program()
	if err != nil {
		return nil, err
	}
	inode, err := netns.Inode(o.Namespace)
	if err != nil {
		return nil, err
	}
	return &process{o: o, id: hello{Program: name, Namespace: inode, PID: os.Getpid()}, served: serve(o.Namespace, o.Log)}, nil
}

// run speaks with one agent after the other; a new one's connection ends the old one's.
func (p *process) run(ctx context.Context, l net.Listener) error {
	conns := make(chan net.Conn)
	failed := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			conns <- c
		}
	}()
	p.drop()
	orders, over := make(chan exchange), make(chan struct{})
	defer close(over)
	var agent net.Conn
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("services: accept: %w", err)
		case c := <-conns:
			if agent != nil {
				agent.Close()
			}
			agent = c
			go p.listen(c, orders, over)
		case e := <-orders:
			if e.Stop {
				return nil
			}
			if !e.Ping {
				p.served.set(e.Goal)
				p.drop()
			}
			d := done{Number: e.Number, Counts: p.served.counts()}
			if err := p.served.problem(); err != nil {
				d.Problem = err.Error()
			}
			e.answer <- d
		}
	}
}

// exchange is an order with the way back to who gave it.
type exchange struct {
	order
	answer chan done
}

// listen reads orders until the agent is gone.
func (p *process) listen(c net.Conn, orders chan<- exchange, over <-chan struct{}) {
	defer c.Close()
	enc, dec := gob.NewEncoder(c), gob.NewDecoder(c)
	if err := enc.Encode(p.id); err != nil {
		return
	}
	for {
		e := exchange{answer: make(chan done, 1)}
		if err := dec.Decode(&e.order); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				p.o.Log.Warn("services: order", "error", err)
			}
			return
		}
		if e.Goal == nil && !e.Stop && !e.Ping {
			p.o.Log.Warn("services: an order without a goal")
			return
		}
		select {
		case orders <- e:
		case <-over:
			return
		}
		select {
		case d := <-e.answer:
			if err := enc.Encode(d); err != nil {
				return
			}
		case <-over:
			return
		}
	}
}

// drop gives privileges up as soon as every socket is open; until then a service that failed may still be started.
func (p *process) drop() {
	if p.renounce == nil || p.served.problem() != nil {
		return
	}
	if err := p.renounce(); err != nil { // a unit that bounds capabilities needs CAP_SETUID and CAP_SETGID
		p.o.Log.Error("services: the process keeps its privileges", "error", err)
	}
	p.renounce = nil
}

func renounce() error {
	return errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
}

// hold takes the lock file; who holds it is the host's only process of this kind.
func hold(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: another process serves this host: %w", path, err)
	}
	return f, nil
}

// holder is the process that holds the lock, 0 for none.
func holder(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		return 0, fmt.Errorf("lock %s: %w", path, err)
	}
	if l.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(l.Pid), nil
}
