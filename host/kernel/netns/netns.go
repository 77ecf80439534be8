// Package netns makes, names, lists, enters and removes network namespaces.
//
// In: a name, or the path of a namespace file. Out: a namespace held by a bind mount under /run/netns, where `ip netns`
// sees it too; no process is needed to keep it. The package knows nothing of what namespaces are for; it is the only
// importer of vishvananda/netns.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are mounted.
const Dir = "/run/netns"

// Path is the file of a namespace: a name stands under Dir, an absolute path for itself.
func Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(Dir, name)
}

// New makes the namespace name. It is an error when it exists.
func New(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := prepareDir(); err != nil {
		return fmt.Errorf("prepare %s: %w", Dir, err)
	}
	path := Path(name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("make namespace %s: %w", name, err)
	}
	f.Close()
	if err := OnSpareThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		return nil
	}); err != nil {
		os.Remove(path)
		return fmt.Errorf("make namespace %s: %w", name, err)
	}
	return nil
}

// Ensure makes the namespace name when it does not exist and says whether it did. A file that is no namespace any more
// (its mount was lost) is replaced.
func Ensure(name string) (created bool, err error) {
	if Exists(name) {
		return false, nil
	}
	if err := Delete(name); err != nil {
		return false, err
	}
	return true, New(name)
}

// Delete removes the name; the namespace itself ends when the last process and socket has left it. Nothing to remove is no error.
func Delete(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	path := Path(name)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if err == nil {
			continue // somebody may have mounted twice
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		return fmt.Errorf("unmount namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}

// Exists says whether name is a mounted namespace.
func Exists(name string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(Path(name), &st); err != nil {
		return false
	}
	return int64(st.Type) == unix.NSFS_MAGIC
}

// List returns the names under Dir that begin with prefix, sorted; also files whose mount was lost, so that they can be removed.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// Inode identifies the namespace: two names with one inode are one namespace, and /proc/PID/ns/net of a process in it shows it.
func Inode(name string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(Path(name), &st); err != nil {
		return 0, fmt.Errorf("stat namespace %s: %w", name, err)
	}
	return st.Ino, nil
}

// Open opens the namespace for a handle that will be used on any thread. The caller closes it.
func Open(name string) (vns.NsHandle, error) {
	h, err := vns.GetFromPath(Path(name))
	if err != nil {
		return vns.None(), fmt.Errorf("open namespace %s: %w", name, err)
	}
	return h, nil
}

// Do runs fn on a thread that is inside the namespace name ("" stands for the caller's own) and waits for it. Sockets opened
// and processes started by fn stay in the namespace. fn must not start goroutines that rely on it.
//
// The thread is locked while fn runs; when it cannot be brought back it ends instead of returning to Go's pool.
func Do(name string, fn func() error) error {
	if name == "" {
		return fn()
	}
	target, err := Open(name)
	if err != nil {
		return err
	}
	defer target.Close()
	var r result
	offMain(func() { r = enter(name, target, fn) })
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.err
}

type result struct {
	err      error
	panicked any
}

// enter runs on a goroutine of its own: not unlocking at its end makes Go end the thread.
func enter(name string, target vns.NsHandle, fn func() error) (r result) {
	runtime.LockOSThread()
	origin, err := vns.GetFromPath("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return result{err: fmt.Errorf("enter namespace %s: own namespace: %w", name, err)}
	}
	defer origin.Close()
	if err := vns.Set(target); err != nil {
		runtime.UnlockOSThread()
		return result{err: fmt.Errorf("enter namespace %s: %w", name, err)}
	}
	defer func() {
		if p := recover(); p != nil {
			r.panicked = p
		}
		if err := vns.Set(origin); err == nil {
			runtime.UnlockOSThread()
		}
	}()
	return result{err: fn()}
}

// OnSpareThread runs fn on a thread that ends afterwards, whatever fn did to it.
func OnSpareThread(fn func() error) (err error) {
	offMain(func() {
		runtime.LockOSThread()
		err = fn()
	})
	return err
}

// offMain runs fn on a goroutine that is not on the process's first thread, and waits. Go cannot end that thread, and /proc/PID shows
// its namespaces as the process's: it must never be lost in another one.
func offMain(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			fn() // may end the thread by not unlocking as often as it locked
			runtime.UnlockOSThread()
			return
		}
		offMain(fn) // this thread is occupied meanwhile: the next goroutine gets another
		runtime.UnlockOSThread()
	}()
	<-done
}

// prepareDir makes Dir a shared mount as `ip netns` does, so that a name removed here disappears in other mount namespaces too.
func prepareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	d, err := os.Open(Dir)
	if err != nil {
		return err
	}
	defer d.Close() // ends the lock, which `ip netns` takes too
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

func checkName(name string) error {
	if name == "" || len(name) > 200 || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return fmt.Errorf("namespace name %q: one path element of at most 200 bytes expected", name)
	}
	return nil
}
