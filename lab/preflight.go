package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// The oldest kernel with tcx links.
const oldestMajor, oldestMinor = 6, 6

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a lab needs root: it makes network namespaces and loads eBPF programs")
	}
	return nil
}

// preflight says in one sentence what this machine lacks. What the programs need of eBPF the agents probe themselves.
func preflight(name string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	if err := checkKernel(unix.ByteSliceToString(u.Release[:])); err != nil {
		return err
	}
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return errors.New("this machine has no IPv6: the kernel was built or started without it (CONFIG_IPV6, ipv6.disable=1)")
	}
	if err := mountBPF(); err != nil {
		return err
	}
	return probeDevices(netnsName(name, "probe"))
}

func checkKernel(release string) error {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return fmt.Errorf("kernel %q: Linux %d.%d or newer expected", release, oldestMajor, oldestMinor)
	}
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return fmt.Errorf("this machine runs Linux %s; Ringfence needs %d.%d or newer (tcx)", release, oldestMajor, oldestMinor)
	}
	return nil
}

// mountBPF mounts the file system that programs and maps are pinned in where the machine has not done so.
func mountBPF() error {
	var st unix.Statfs_t
	if err := unix.Statfs(bpffs, &st); err != nil {
		return fmt.Errorf("%s: %w: this kernel has no BPF file system (CONFIG_BPF_SYSCALL)", bpffs, err)
	}
	if int64(st.Type) == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpffs", bpffs, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount the BPF file system on %s: %w", bpffs, err)
	}
	return nil
}

// probeDevices makes one device of each kind in a namespace of its own.
func probeDevices(ns string) error {
	if _, err := netns.Ensure(ns); err != nil {
		return fmt.Errorf("this kernel makes no network namespaces (CONFIG_NET_NS): %w", err)
	}
	defer netns.Delete(ns)
	return netdev.With(ns, func(c *netdev.Conn) error {
		if _, _, err := c.EnsureVeth(netdev.Veth{Name: "veth0", Peer: netdev.Peer{Namespace: ns, Name: "veth1"}}); err != nil {
			return fmt.Errorf("this kernel makes no veth pairs (CONFIG_VETH): %w", err)
		}
		if _, err := c.EnsureBridge("bridge0", 0); err != nil {
			return fmt.Errorf("this kernel makes no bridges (CONFIG_BRIDGE): %w", err)
		}
		if _, err := c.EnsureVXLAN("vxlan0", 4789, 0); err != nil {
			return fmt.Errorf("this kernel makes no external VXLAN devices (CONFIG_VXLAN): %w", err)
		}
		return nil
	})
}
