package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Down removes everything of a lab by its name: also after a crash, when half of it was made, and when nothing is left.
func Down(ctx context.Context, name string) error {
	if name == "" {
		name = DefaultName
	}
	if err := checkName(name); err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	unlock, err := lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := remove(name); err != nil {
		return fmt.Errorf("lab %q: %w", name, err)
	}
	return removeRun(name)
}

// remove takes everything away but the run directory itself, which carries the lock.
func remove(name string) error {
	var recorded []Process
	if s, err := read(name); err == nil {
		recorded = s.Processes
	}
	// While a program lives it could make again what is removed: stop first, and stop there when that fails.
	if err := stop(func() ([]int, error) { return owned(name, recorded) }); err != nil {
		return err
	}
	return errors.Join(removeNamespaces(name), removePins(name), os.RemoveAll(dataDir(name)), emptyDir(runDir(name)), prune(dataRoot))
}

func removeNamespaces(name string) error {
	names, err := netns.List(netnsPrefix(name))
	if err != nil {
		return err
	}
	var errs []error
	for _, ns := range names {
		errs = append(errs, netns.Delete(ns))
	}
	return errors.Join(errs...)
}

// removePins lets go of programs, maps and links; the kernel frees them with the last reference.
func removePins(name string) error {
	if err := os.RemoveAll(pinDir(name)); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return prune(pinRoot)
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(dir+"/"+e.Name()))
	}
	return errors.Join(errs...)
}

func removeRun(name string) error {
	if err := os.RemoveAll(runDir(name)); err != nil {
		return err
	}
	return prune(runRoot)
}

// prune removes a directory that labs share when the last one has left it.
func prune(dir string) error {
	err := os.Remove(dir)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}
