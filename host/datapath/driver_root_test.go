package datapath

import (
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// driver measures packets of many flows in one program test run: a program chooses a flow, writes its ports into the frame and
// tail-calls what is measured. The same with an empty program behind it is taken away. One run of many packets has no cold
// start, and what the caches cannot hold is missing from them as it is under traffic.
type driver struct {
	random, inOrder *ebpf.Program
	next, target    *ebpf.Map
	flows           uint32
}

const (
	driverPort = 2000 // server port of the first 65,536 flows
	offSrcPort = 14 + 20
	offDstPort = 14 + 20 + 2
	skbData    = 76
	skbDataEnd = 80
)

// newDriver is for n flows, a power of two: flow i has the client port i and the server port 2000 + i>>16. A frame that the server
// sends has them the other way round.
func newDriver(b testing.TB, n uint32, server bool) *driver {
	b.Helper()
	if bits.OnesCount32(n) != 1 {
		b.Fatalf("%d flows", n)
	}
	d := &driver{flows: n}
	var err error
	if d.next, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}); err != nil {
		b.Fatal(err)
	}
	if d.target, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}); err != nil {
		b.Fatal(err)
	}
	inOrder := asm.Instructions{
		asm.Mov.Imm(asm.R2, 0),
		asm.StoreMem(asm.R10, -4, asm.R2, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, d.next.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
	}
	random := asm.Instructions{asm.FnGetPrandomU32.Call(), asm.Mov.Reg(asm.R7, asm.R0)}
	client, srv := int16(offSrcPort), int16(offDstPort)
	if server {
		client, srv = srv, client
	}
	rest := asm.Instructions{
		asm.And.Imm(asm.R7, int32(n-1)),
		asm.LoadMem(asm.R1, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Add.Imm(asm.R3, 14+20+4),
		asm.JGT.Reg(asm.R3, asm.R2, "out"),
		asm.Mov.Reg(asm.R4, asm.R7),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.StoreMem(asm.R1, client, asm.R4, asm.Half),
		asm.RSh.Imm(asm.R7, 16),
		asm.Add.Imm(asm.R7, driverPort),
		asm.HostTo(asm.BE, asm.R7, asm.Half),
		asm.StoreMem(asm.R1, srv, asm.R7, asm.Half),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, d.target.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 3).WithSymbol("out"),
		asm.Return(),
	}
	load := func(choose asm.Instructions) *ebpf.Program {
		ins := append(asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}, choose...)
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, AttachType: ebpf.AttachTCXIngress, License: "MIT", Instructions: append(ins, rest...)})
		if err != nil {
			b.Fatalf("%+v", err)
		}
		return p
	}
	d.random, d.inOrder = load(random), load(inOrder)
	b.Cleanup(func() {
		for _, c := range []interface{ Close() error }{d.random, d.inOrder, d.next, d.target} {
			c.Close()
		}
	})
	return d
}

func (d *driver) aim(b testing.TB, what *ebpf.Program) {
	b.Helper()
	if err := d.target.Put(uint32(0), what); err != nil {
		b.Fatal(err)
	}
}

// every sends one packet of every flow out of the port behind ifindex.
func (d *driver) every(b testing.TB, what *ebpf.Program, ifindex int, frame []byte) {
	b.Helper()
	d.aim(b, what)
	ret, err := d.inOrder.Run(&ebpf.RunOptions{Data: frame, Context: skb{Ifindex: uint32(ifindex)}, Repeat: d.flows})
	if err != nil || ret != 7 {
		b.Fatalf("returned %d: %v", ret, err)
	}
}

// cost is the median of what one packet of a random flow takes, in nanoseconds, and the best, of runs of n packets.
func (d *driver) cost(b testing.TB, what, empty *ebpf.Program, frame []byte, n int) (median, best float64) {
	b.Helper()
	run := func(p *ebpf.Program) time.Duration {
		d.aim(b, p)
		ret, took, err := d.random.Benchmark(frame, n, nil)
		if err != nil || ret != 7 {
			b.Fatalf("returned %d: %v", ret, err)
		}
		return took
	}
	var ns []float64
	for range 21 {
		ns = append(ns, float64(run(what)-run(empty)))
	}
	slices.Sort(ns)
	return ns[len(ns)/2], ns[0]
}
