package datapath

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"ringfence/host/kernel/bpf"
)

func testSpec(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := bpf.Spec(object)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// Every call that looks a key up, inserts or deletes has one map on all paths that lead to it: only then does the verifier put the map's
// own code in its place. The compiler likes to make one call of two with different maps; then each packet pays for an indirect call.
func TestOneMapPerCall(t *testing.T) {
	calls := 0
	for _, p := range testSpec(t).Programs {
		joins := map[asm.RawInstructionOffset]bool{} // where paths meet
		for it := p.Instructions.Iterate(); it.Next(); {
			if op := it.Ins.OpCode; op.Class().IsJump() && op.JumpOp() != asm.Call && op.JumpOp() != asm.Exit {
				d := asm.RawInstructionOffset(int32(it.Ins.Offset))
				if op.Class() == asm.Jump32Class && op.JumpOp() == asm.Ja {
					d = asm.RawInstructionOffset(int32(it.Ins.Constant))
				}
				joins[it.Offset+1+d] = true
			}
		}
		function, one := "", false // whether R1 is one map, or one out of a map of maps
		for it := p.Instructions.Iterate(); it.Next(); {
			ins := it.Ins
			if s := ins.Symbol(); s != "" {
				function = s
			}
			if joins[it.Offset] {
				one = false
			}
			switch op := ins.OpCode; {
			case ins.IsBuiltinCall() && ins.Constant >= int64(asm.FnMapLookupElem) && ins.Constant <= int64(asm.FnMapDeleteElem):
				calls++
				if !one {
					t.Errorf("%s, instruction %d: %v of one map or another", function, it.Offset, asm.BuiltinFunc(ins.Constant))
				}
				one = false
			case op.Class().IsJump() && op.JumpOp() == asm.Call:
				one = false
			case op.Class().IsLoad() && ins.Dst == asm.R1:
				one = ins.IsLoadFromMap() && ins.Src == asm.PseudoMapFD
			case op.Class().IsALU() && ins.Dst == asm.R1:
				one = op.ALUOp() == asm.Mov && ins.Src == asm.R0
			}
		}
	}
	if calls < 100 {
		t.Errorf("%d calls looked at", calls)
	}
}

// Frames of functions that call each other share 512 bytes. Linux 6.6 rounds each of them up to 32.
func TestStack(t *testing.T) {
	for name, p := range testSpec(t).Programs {
		frames, callees := map[string]int{}, map[string][]string{}
		function := ""
		var frame [11]bool // registers that hold the frame's end
		for _, ins := range p.Instructions {
			if s := ins.Symbol(); s != "" {
				function = s
				frame = [11]bool{asm.R10: true}
			}
			at := 0
			switch op := ins.OpCode; {
			case ins.IsFunctionReference(): // calls, and what a loop is given to call
				callees[function] = append(callees[function], ins.Reference())
			case op.Class().IsStore() && ins.Dst == asm.R10, op.Class() == asm.LdXClass && ins.Src == asm.R10:
				at = -int(ins.Offset)
			case op.Class().IsALU() && op.ALUOp() == asm.Add && op.Source() == asm.ImmSource && frame[ins.Dst] && ins.Dst != asm.R10:
				at = -int(ins.Constant)
				frame[ins.Dst] = false
			case op.Class().IsALU():
				frame[ins.Dst] = op.ALUOp() == asm.Mov && op.Source() == asm.RegSource && ins.Src == asm.R10
			}
			frames[function] = max(frames[function], at)
		}
		var deepest func(f string) (int, string)
		deepest = func(f string) (most int, path string) {
			for _, c := range callees[f] {
				if n, p := deepest(c); n > most {
					most, path = n, p
				}
			}
			return most + max(32, (frames[f]+31)/32*32), strings.TrimSuffix(f+" "+path, " ")
		}
		n, path := deepest(name)
		if n > 512 {
			t.Errorf("%d bytes of stack: %s", n, path)
		}
		t.Logf("%d bytes: %s", n, path)
	}
}
