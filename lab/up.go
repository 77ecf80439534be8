package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the programs of a lab may take to find each other.
const patience = 30 * time.Second

// Up lays a lab out, starts its programs and waits until every host is connected. When it fails it takes away what it made and says
// what failed, with the end of the log of the program that did.
func Up(ctx context.Context, c Config) (*State, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := needRoot(); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if isUp(c.Name) {
		return nil, fmt.Errorf("lab %q is already up: `ringfence lab down --name %s` takes it down", c.Name, c.Name)
	}
	s, err := raise(ctx, c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab %q: %w", c.Name, err), remove(c.Name), removeRun(c.Name))
	}
	return s, nil
}

// raise makes a lab where at most the ruins of one are.
func raise(ctx context.Context, c Config) (*State, error) {
	if err := preflight(c.Name); err != nil {
		return nil, err
	}
	if err := remove(c.Name); err != nil {
		return nil, err
	}
	return build(ctx, c)
}

// isUp says whether a whole lab of the name is there with at least one of its programs alive.
func isUp(name string) bool {
	s, err := read(name)
	return err == nil && s.Ready && slices.ContainsFunc(s.Processes, Process.Running)
}

func (c *Config) complete() error {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if err := checkName(c.Name); err != nil {
		return err
	}
	if c.Hosts == 0 {
		c.Hosts = 2
	}
	if c.Hosts < 1 || c.Hosts > MaxHosts {
		return fmt.Errorf("hosts %d: 1 to %d expected", c.Hosts, MaxHosts)
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		c.Binary = self
	}
	return nil
}

func build(ctx context.Context, c Config) (*State, error) {
	listen, err := chooseListen(c.Listen)
	if err != nil {
		return nil, err
	}
	s := newState(c, listen)
	for _, dir := range []string{runDir(c.Name), dataDir(c.Name)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(pinDir(c.Name), 0o700); err != nil {
		return nil, err
	}
	if err := s.save(); err != nil {
		return nil, err
	}
	c.Progress(fmt.Sprintf("laying out %d hosts and the Internet", c.Hosts))
	if err := lay(c.Name, c.Hosts); err != nil {
		return nil, err
	}
	if err := writeConfig(c, s, listen, time.Now()); err != nil {
		return nil, err
	}
	c.Progress("starting the control plane and the agents")
	programs, err := launchAll(c, s)
	if err != nil {
		return nil, err
	}
	c.Progress("waiting until every host is connected and guarded")
	if err := ready(ctx, s, programs); err != nil {
		return nil, err
	}
	if err := openUplinks(c.Name, c.Hosts); err != nil {
		return nil, err
	}
	s.Ready = true
	return s, s.save()
}

// chooseListen finds a free port of the loopback when none is wished.
func chooseListen(wish string) (string, error) {
	if wish == "" {
		wish = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", wish)
	if err != nil {
		return "", fmt.Errorf("the API's address: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// launchAll starts every program and records each before the next.
func launchAll(c Config, s *State) ([]*program, error) {
	var programs []*program
	start := func(name, ns, config, log, command string) error {
		p, err := launch(name, c.Binary, ns, config, log, command)
		if err != nil {
			return err
		}
		programs = append(programs, p)
		s.Processes = append(s.Processes, p.Process)
		return s.save()
	}
	if err := start("server", "", serverFile(s), filepath.Join(s.RunDir, "server.log"), "server"); err != nil {
		return nil, err
	}
	for _, h := range s.Hosts {
		if err := start(h.Name, h.Netns, agentFile(h), filepath.Join(h.RunDir, "agent.log"), "agent"); err != nil {
			return nil, err
		}
	}
	return programs, nil
}

// ready polls the server until every host is connected and has its first goal in force; a program that ends meanwhile is the failure.
func ready(ctx context.Context, s *State, programs []*program) error {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := operator(s.Socket)
	defer client.CloseIdleConnections()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing, err := waiting(within, client, s)
		if err == nil && len(missing) == 0 {
			return nil
		}
		for _, p := range programs {
			select {
			case <-p.exited:
				return fmt.Errorf("%s ended (%v); its log ends:\n%s", p.Name, p.status, logTail(p.Log))
			default:
			}
		}
		select {
		case <-within.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx) // the caller's will
			}
			return notReady(s, missing, err)
		case <-tick.C:
		}
	}
}

// notReady names the first host that is not, why, and the end of its agent's log; or the server's when it does not answer.
func notReady(s *State, missing []hostStatus, err error) error {
	who := "server"
	if err == nil {
		who = missing[0].Name
		switch h := missing[0]; {
		case h.Problem != "":
			err = fmt.Errorf("host %s: %s", who, h.Problem)
		case h.Connected:
			err = fmt.Errorf("host %s is connected, but has no goal in force", who)
		default:
			err = fmt.Errorf("host %s is not connected", who)
		}
	}
	for _, p := range s.Processes {
		if p.Name == who {
			return fmt.Errorf("%w after %s; the log of %s ends:\n%s", err, patience, who, logTail(p.Log))
		}
	}
	return err
}

// lock keeps two commands from working on one lab at once. The lock is on the run directory itself, so that nothing is left over.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		if err := os.MkdirAll(runDir(name), 0o700); err != nil {
			return nil, fmt.Errorf("lock lab %q: %w", name, err)
		}
		f, err := os.Open(runDir(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock lab %q: %w", name, err)
		}
		if err := flock(ctx, f); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock lab %q: another command is working on it: %w", name, err)
		}
		now, err := os.Stat(runDir(name))
		mine, err2 := f.Stat()
		if err == nil && err2 == nil && os.SameFile(now, mine) {
			return func() { f.Close() }, nil
		}
		f.Close() // the directory was removed and perhaps made anew while we waited
	}
}

func flock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
