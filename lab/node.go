package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Exec runs argv on a node (a host, or "internet") in place of this process; it returns only when it failed.
func Exec(s *State, node string, argv []string) error {
	ns, err := s.Netns(node)
	if err != nil {
		return err
	}
	if len(argv) == 0 {
		return errors.New("a command expected")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	h, err := netns.Open(ns)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // never unlocked: the thread becomes the command
	if err := unix.Setns(int(h), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", ns, err)
	}
	h.Close()
	if err := syscall.Exec(path, argv, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// Start starts cmd on a node; the caller waits for it.
func Start(s *State, node string, cmd *exec.Cmd) error {
	ns, err := s.Netns(node)
	if err != nil {
		return err
	}
	return netns.Do(ns, cmd.Start)
}
