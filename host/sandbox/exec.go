package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Exec runs argv inside the sandbox in place of this process: standard streams, signals, working directory and exit code are the command's.
// It returns only when it failed.
func Exec(s Spec, argv []string) error {
	if len(argv) == 0 {
		return errors.New("sandbox: a command expected")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // never unlocked: this thread is not fit for anything else any more
	if err := s.enter(); err != nil {
		return err
	}
	if err := syscall.Exec(path, argv, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// Start starts cmd inside the sandbox; the caller waits for it. Many may be started at once.
func Start(s Spec, cmd *exec.Cmd) error {
	return netns.OnSpareThread(func() error {
		if err := s.enter(); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// enter moves the calling thread into the sandbox: its network, a host name of its own, and a view of the file system with the sandbox's
// resolv.conf, hosts and hostname, and with the network's own /sys.
func (s Spec) enter() error {
	h, err := netns.Open(s.Namespace)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("enter %s: unshare: %w", s.Namespace, err)
	}
	if err := unix.Setns(int(h), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", s.Namespace, err)
	}
	if s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("enter %s: host name: %w", s.Namespace, err)
		}
	}
	return s.mounts()
}

// mounts changes the view of the new mount namespace. What the machine unmounts disappears here too (slave), nothing goes back.
func (s Spec) mounts() error {
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("enter %s: make mounts private: %w", s.Namespace, err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("enter %s: mount /sys: %w", s.Namespace, err)
	}
	if s.Dir == "" {
		return nil
	}
	for _, f := range []string{"resolv.conf", "hosts", "hostname"} {
		if err := overlay(filepath.Join(s.Dir, f), filepath.Join("/etc", f)); err != nil {
			return fmt.Errorf("enter %s: %w", s.Namespace, err)
		}
	}
	return nil
}

// overlay puts file in the place of target; where either is missing there is nothing to hide or to show.
func overlay(file, target string) error {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	real, err := filepath.EvalSymlinks(target)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(file, real, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", file, real, err)
	}
	return nil
}
