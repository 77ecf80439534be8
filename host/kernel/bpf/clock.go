package bpf

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Clock is the kernel's tick counter: for programs it costs one load, where a clock in nanoseconds costs a call.
type Clock struct {
	Hz   uint64 // ticks in a second
	prog *ebpf.Program
}

type reading struct{ Ticks, Nanoseconds uint64 }

// NewClock measures how long a tick is; the kernel does not tell.
func NewClock() (*Clock, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "clock", Type: ebpf.Syscall, Flags: 1 << 4 /* BPF_F_SLEEPABLE */, License: "MIT",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.FnJiffies64.Call(),
			asm.StoreMem(asm.R6, 0, asm.R0, asm.DWord),
			asm.FnKtimeGetNs.Call(),
			asm.StoreMem(asm.R6, 8, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		}})
	if err != nil {
		return nil, fmt.Errorf("kernel clock: %w", err)
	}
	c := &Clock{prog: p}
	if err := c.measure(); err != nil {
		p.Close()
		return nil, fmt.Errorf("kernel clock: %w", err)
	}
	return c, nil
}

// measure takes the rate over a while and rounds it to one that kernels are built with.
func (c *Clock) measure() error {
	a, err := c.read()
	if err != nil {
		return err
	}
	for wait := 60 * time.Millisecond; wait < 10*time.Second; wait *= 4 {
		time.Sleep(wait)
		b, err := c.read()
		if err != nil {
			return err
		}
		seconds := float64(b.Nanoseconds-a.Nanoseconds) / 1e9
		low, high := (float64(b.Ticks-a.Ticks)-1.2)/seconds, (float64(b.Ticks-a.Ticks)+1.2)/seconds
		fits := 0
		for _, hz := range []uint64{100, 250, 300, 1000} { // what Kconfig offers
			if float64(hz) >= low && float64(hz) <= high {
				c.Hz, fits = hz, fits+1
			}
		}
		if fits == 1 {
			return nil
		}
	}
	return fmt.Errorf("the tick has no known rate")
}

func (c *Clock) read() (r reading, err error) {
	_, err = c.prog.Run(&ebpf.RunOptions{Context: reading{}, ContextOut: &r})
	return r, err
}

// Now is the counter.
func (c *Clock) Now() (uint64, error) {
	r, err := c.read()
	if err != nil {
		return 0, fmt.Errorf("kernel clock: %w", err)
	}
	return r.Ticks, nil
}

// Close lets go of the program that reads the counter.
func (c *Clock) Close() { c.prog.Close() }
