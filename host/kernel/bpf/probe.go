package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Probe says in one sentence what the kernel or the process lacks for the programs, nil when nothing.
func Probe() error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("eBPF needs root (or CAP_BPF, CAP_NET_ADMIN and CAP_SYS_RESOURCE): %w", err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SchedCLS,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "MIT",
	})
	if err != nil {
		return fmt.Errorf("this kernel does not load eBPF programs for packets: CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_ACT are needed: %w", err)
	}
	defer p.Close()
	return probeTCX(p)
}

// probeTCX attaches to a device that does not exist: a kernel that knows tcx misses the device, another one the command.
func probeTCX(p *ebpf.Program) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: 1 << 30, Program: p, Attach: ebpf.AttachTCXIngress})
	switch {
	case err == nil:
		l.Close()
		return nil
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel cannot attach programs with tcx: Linux 6.6 or newer with CONFIG_NET_XGRESS is needed")
	}
	return nil
}
