// Package bpf loads, pins and attaches eBPF programs, fills maps of maps and waits until every CPU uses what was put there.
//
// In: object files, pin directories and device numbers. Out: loaded collections, pinned tcx links and, from Probe, one sentence
// naming what the kernel lacks. It knows nothing of what the programs do. Owned by host/datapath and the services that attach
// programs; cilium/ebpf is imported here and in host/datapath only.
package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// FS is where a BPF file system is mounted by convention.
const FS = "/sys/fs/bpf"

// EnsureFS makes dir and its parents on a BPF file system. The conventional place is mounted when nobody has done so.
func EnsureFS(dir string) error {
	if under(dir, FS) && !isBPF(FS) {
		if err := unix.Mount("bpf", FS, "bpf", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mount the BPF file system on %s: %w", FS, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("pin directory: %w", err)
	}
	if !isBPF(dir) {
		return fmt.Errorf("pin directory %s: not on a BPF file system", dir)
	}
	return nil
}

func under(dir, parent string) bool {
	return dir == parent || strings.HasPrefix(filepath.Clean(dir), parent+"/")
}

func isBPF(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.BPF_FS_MAGIC
}

// Spec reads an object file.
func Spec(object []byte) (*ebpf.CollectionSpec, error) {
	s, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	return s, nil
}

// Load loads a collection. Maps whose specification says so are pinned in dir, or taken over from there.
func Load(spec *ebpf.CollectionSpec, dir string) (*ebpf.Collection, error) {
	if err := adoptSizes(spec, dir); err != nil {
		return nil, err
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}})
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return nil, fmt.Errorf("pinned maps in %s are of another layout: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load programs: %w", err)
	}
	return c, nil
}

// adoptSizes lets maps that are pinned already keep the number of entries that they were made with.
func adoptSizes(spec *ebpf.CollectionSpec, dir string) error {
	for name, m := range spec.Maps {
		if m.Pinning != ebpf.PinByName {
			continue
		}
		p, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("pinned map %s: %w", name, err)
		}
		m.MaxEntries = p.MaxEntries()
		p.Close()
	}
	return nil
}
