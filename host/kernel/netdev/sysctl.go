package netdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ringfence/host/kernel/netns"
)

// Sysctl is one setting: the path under /proc/sys with slashes ("net/ipv4/ip_forward") and its value.
type Sysctl struct {
	Key, Value string
	Optional   bool // a kernel without it needs it not
}

// SetSysctls writes settings inside the namespace ns.
func SetSysctls(ns string, settings ...Sysctl) error {
	return netns.Do(ns, func() error {
		for _, s := range settings {
			err := os.WriteFile(filepath.Join("/proc/sys", s.Key), []byte(s.Value+"\n"), 0)
			if err != nil && !(s.Optional && errors.Is(err, fs.ErrNotExist)) {
				return fmt.Errorf("set %s = %s: %w", s.Key, s.Value, err)
			}
		}
		return nil
	})
}

// ReadSysctl reads a setting inside the namespace ns.
func ReadSysctl(ns, key string) (value string, err error) {
	err = netns.Do(ns, func() error {
		b, err := os.ReadFile(filepath.Join("/proc/sys", key))
		value = strings.TrimSpace(string(b))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return value, nil
}
