package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/random"
)

// BenchmarkZ3 asks an SMT solver the question that BenchmarkEquivalence1000 asks: two IPv4 lists as nested conditions over bit
// vectors, and whether any packet tells them apart. One list per manner, rewritten in a hundred places (no packet does) and
// with one rule edited (mostly some do). The solver's own answer must be ours. Without a z3 in the path nothing is measured.
func BenchmarkZ3(b *testing.B) {
	z3, err := exec.LookPath("z3")
	if err != nil {
		b.Log("there is no z3 on this machine: nothing is measured beside us")
		return
	}
	var ours, theirs []time.Duration
	var names []string
	for b.Loop() {
		ours, theirs, names = nil, nil, nil
		for _, m := range random.Manners {
			r := rand.New(rand.NewPCG(1, 51))
			old := random.List(r, 1000, m, false)
			same := old
			for range 100 {
				same = rewrite(r, same)
			}
			for _, now := range [][]goal.Rule{same, mutate(r, old)} {
				at := time.Now()
				yes, known := Equivalent(old, now, nil, nil)
				ours = append(ours, time.Since(at))
				text := smt(old, now)
				at = time.Now()
				cmd := exec.Command(z3, "-in", "-T:300")
				cmd.Stdin = strings.NewReader(text)
				out, err := cmd.Output()
				theirs, names = append(theirs, time.Since(at)), append(names, m.Name)
				answer := string(bytes.TrimSpace(out))
				if answer == "timeout" {
					continue
				}
				if !known || answer != map[bool]string{true: "unsat", false: "sat"}[yes] {
					b.Fatalf("%s: we say %v %v, z3 says %q %v", m.Name, yes, known, answer, err)
				}
			}
		}
	}
	for i := range ours {
		b.Logf("%s: ours %v, z3 %v", names[i], ours[i].Round(10*time.Microsecond), theirs[i].Round(time.Millisecond))
	}
	report(b, theirs, names)
}

// smt is the question whether two lists differ, for IPv4 packets with TCP, UDP, ESP or ICMP types behind the protocols.
func smt(a, b []goal.Rule) string {
	var w strings.Builder
	w.WriteString("(set-logic QF_BV)\n(declare-const src (_ BitVec 32))\n(declare-const dst (_ BitVec 32))\n(declare-const proto (_ BitVec 16))\n(declare-const sport (_ BitVec 16))\n(declare-const dport (_ BitVec 16))\n(assert (bvult proto #x0200))\n(assert (distinct proto #x0001))\n")
	for i, rules := range [][]goal.Rule{a, b} {
		fmt.Fprintf(&w, "(define-fun p%d () Bool ", i)
		lines := linesOf(V4, "", rules, nil)
		for k := range lines {
			fmt.Fprintf(&w, "\n(ite (and true %s) %t ", lines[k].smt(), lines[k].allow)
		}
		w.WriteString("false" + strings.Repeat(")", len(lines)) + ")\n")
	}
	w.WriteString("(assert (distinct p0 p1))\n(check-sat)\n")
	return w.String()
}

func (l *line) smt() string {
	var parts []string
	limits := V4.limit()
	for d, name := range []string{"src", "dst", "proto", "sport", "dport"} {
		s := l.product[d]
		if len(s) == 1 && s[0].lo == (number{}) && s[0].hi == limits[d] {
			continue
		}
		var any []string
		for _, v := range s {
			constant := func(x number) string {
				if d <= dimDst {
					a := x.addr(V4).As4()
					return fmt.Sprintf("#x%08x", binary.BigEndian.Uint32(a[:]))
				}
				return fmt.Sprintf("#x%04x", x.lo)
			}
			if v.lo == v.hi {
				any = append(any, fmt.Sprintf("(= %s %s)", name, constant(v.lo)))
			} else {
				any = append(any, fmt.Sprintf("(and (bvule %s %s) (bvule %s %s))", constant(v.lo), name, name, constant(v.hi)))
			}
		}
		parts = append(parts, "(or false "+strings.Join(any, " ")+")")
	}
	return strings.Join(parts, " ")
}
