package serving

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Command is the word of the program that runs the process.
const Command = "services"

// attach takes over the process that runs, when it is this program's and serves in this namespace, or replaces it.
func (k *Keeper) attach(ctx context.Context) (*connection, error) {
	if c, err := k.dial(ctx, time.Second); err == nil {
		if err = k.fits(c.id); err == nil {
			k.log.Info("services: took over the running process", "pid", c.id.PID)
			return c, nil
		}
		k.log.Info("services: the running process is replaced", "pid", c.id.PID, "why", err)
		c.enc.Encode(order{Stop: true})
		c.Close()
	}
	if err := k.clear(); err != nil {
		return nil, err
	}
	if err := k.start(ctx, k.o); err != nil {
		return nil, err
	}
	c, err := k.dial(ctx, helloWithin)
	if err != nil {
		return nil, err
	}
	if err := k.fits(c.id); err != nil {
		c.Close()
		return nil, err
	}
	k.log.Info("services: started", "pid", c.id.PID)
	return c, nil
}

// fits says why a process cannot be taken over, nil when it can.
func (k *Keeper) fits(id hello) error {
	name, err := program()
	if err != nil {
		return err
	}
	inode, err := netns.Inode(k.o.Namespace)
	switch {
	case err != nil:
		return err
	case id.Program != name:
		return errors.New("it runs another program")
	case id.Namespace != inode:
		return errors.New("it serves in another namespace")
	}
	return nil
}

// dial speaks with the process that listens, and waits for its first word.
func (k *Keeper) dial(ctx context.Context, within time.Duration) (*connection, error) {
	conn, err := (&net.Dialer{Timeout: within}).DialContext(ctx, "unix", k.o.socket())
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c := &connection{Conn: conn, enc: gob.NewEncoder(conn), dec: gob.NewDecoder(conn)}
	conn.SetReadDeadline(time.Now().Add(within))
	if err := c.dec.Decode(&c.id); err != nil {
		conn.Close()
		return nil, fmt.Errorf("services: no word from the process: %w", err)
	}
	conn.SetReadDeadline(time.Time{})
	return c, nil
}

// clear ends a process that was told to stop and has not, or that does not listen any more.
func (k *Keeper) clear() error {
	return netns.Signal(func() ([]int, error) {
		pid, err := holder(k.o.lock())
		if err != nil || pid == 0 {
			return nil, err
		}
		return []int{pid}, nil
	}, unix.SIGKILL, 2*time.Second)
}

// start runs the process in the caller's network namespace, in a session of its own, so that nobody's end is its end. Its socket is
// opened here: who dials it waits, instead of failing, until the process speaks.
func start(_ context.Context, o Options) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if err := os.Remove(o.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("services: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: o.socket(), Net: "unix"})
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	if err := os.Chmod(o.socket(), 0o600); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	file, err := l.File()
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	defer file.Close()
	cmd := exec.Command("/proc/self/exe", Command, "--dir", o.Dir, "--host", o.Host, "--namespace", o.Namespace, "--level", o.Level)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr, cmd.Dir, cmd.ExtraFiles = os.Stderr, "/", []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("services: start: %w", err)
	}
	go cmd.Wait()
	return nil
}
