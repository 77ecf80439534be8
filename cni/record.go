package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// record is one attachment, as the plugin must know it when nobody else does any more.
type record struct {
	Container string `json:"container"`
	Device    string `json:"device"`
	NIC       string `json:"nic"`
	Namespace string `json:"namespace"` // path
	Made      bool   `json:"made"`      // the interface was made for it
}

// store keeps the records of one network: a file each.
type store struct{ dir, network string }

func (s store) folder() string { return filepath.Join(s.dir, s.network) }

// file is named by both parts of the key; neither has a slash, and a device has no colon.
func (s store) file(container, device string) string {
	return filepath.Join(s.folder(), container+":"+device+".json")
}

// put writes a record so that after a crash there is all of it or none.
func (s store) put(r record) error {
	if err := os.MkdirAll(s.folder(), 0o700); err != nil {
		return fmt.Errorf("record the attachment: %w", err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record the attachment: %w", err)
	}
	path := s.file(r.Container, r.Device)
	f, err := os.CreateTemp(s.folder(), ".new-*")
	if err != nil {
		return fmt.Errorf("record the attachment: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("record the attachment: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("record the attachment: %w", err)
	}
	return nil
}

// get reads a record; nil when there is none.
func (s store) get(container, device string) (*record, error) {
	b, err := os.ReadFile(s.file(container, device))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the attachment's record: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read the attachment's record %s: %w", s.file(container, device), err)
	}
	return &r, nil
}

func (s store) remove(r record) error {
	if err := os.Remove(s.file(r.Container, r.Device)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the attachment's record: %w", err)
	}
	return nil
}

// list reads all records of the network.
func (s store) list() (all []record, err error) {
	entries, err := os.ReadDir(s.folder())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attachments: %w", err)
	}
	var faults []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		container, device, both := strings.Cut(name, ":")
		if !ok || !both {
			continue
		}
		r, err := s.get(container, device)
		if err != nil {
			faults = append(faults, err)
		} else if r != nil {
			all = append(all, *r)
		}
	}
	return all, errors.Join(faults...)
}
