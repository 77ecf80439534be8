package datapath

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
	"ringfence/observe"
)

// A trace of any packet says step by step what the model says, whatever flows there are; and it leaves flows, counters and buckets as they were.
func TestTraceAsTheModelSays(t *testing.T) {
	inJudge(t, func(o *Options) { o.Ports, o.UnderlayMTU = 256, 1500 }, func(j *judge) {
		j.d.tracer.clock = func() uint64 { return j.now }
		words := map[string]int{}
		traced := 0
		for seed := uint64(1); traced < 1500; seed++ {
			r := rand.New(rand.NewPCG(seed, 31))
			for _, h := range random.Hosts(r, 12) {
				if len(h.Ports) == 0 {
					continue
				}
				j.load(h)
				m := j.model(h)
				var delivered []twinEvent
				for range 120 {
					e := j.sane(h, r, delivered)
					if !runnable(e.frame) || !traceable(e.frame) {
						continue
					}
					look := traced%25 == 0 // it is the dear part
					before := ""
					if look {
						before = j.state()
					}
					got, err := j.traceOf(e)
					if err != nil {
						t.Fatal(err)
					}
					if look && j.state() != before {
						t.Fatalf("a trace of %v changed\n%s", e, before)
					}
					steps := j.expected(m, e)
					if d := strings.Join(got, "\n"); d != strings.Join(steps, "\n") {
						t.Fatalf("seed %d: %v\n%+v\ntrace:\n%s\nmodel:\n%s", seed, e, model.Parse(e.frame), d, strings.Join(steps, "\n"))
					}
					for _, s := range got {
						words[s[strings.Index(s, " ")+1:]]++
					}
					traced++
					if _, sent := j.both(m, e); sent.Action == model.Deliver && sent.Port != 0 {
						delivered = append(delivered, twinEvent{port: sent.Port, frame: e.frame})
					}
				}
			}
		}
		for _, w := range []string{"flow hit", "flow miss", "flow open", "acl allow", "acl deny", "route local", "route remote", "overlay pass", "port deliver", "guard answer", "guard service"} {
			if !slices.ContainsFunc(slices.Collect(mapKeys(words)), func(s string) bool { return strings.Contains(s, w) }) {
				t.Errorf("no trace had %q: %v", w, words)
			}
		}
	})
}

func mapKeys(m map[string]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// traceable: not an ICMP error, whose flow is another packet's, no fragment, which follows its first one, and no packet with options: nobody asks for these.
func traceable(frame []byte) bool {
	p := model.Parse(frame)
	return !p.IsError() && p.Fragment == (model.Fragment{}) && p.OptionBytes == 0
}

func (j *judge) traceOf(e twinEvent) ([]string, error) {
	var got observe.Trace
	var err error
	if e.port != 0 {
		got, err = j.d.Trace(e.port, e.frame)
	} else {
		got, err = j.d.TraceArrival(e.vni, e.outer, e.frame)
	}
	var out []string
	for _, s := range got.Steps {
		out = append(out, line(s.Port, s.Dir.String(), s.Layer, s.Word, s.Group, s.Rule, s.Reason))
	}
	return out, err
}

// expected are the model's steps for a packet that is only traced: it is asked in a copy of itself.
func (j *judge) expected(m *model.Model, e twinEvent) []string {
	p := model.Parse(e.frame)
	var steps []model.Step
	if e.port != 0 {
		_, steps = m.Copy().Out(e.port, p)
	} else {
		_, steps = m.Copy().In(e.vni, e.outer, p)
	}
	var out []string
	for _, s := range steps {
		out = append(out, line(s.Port, s.Dir.String(), s.Layer, s.Word, s.Group, s.Rule, s.Reason))
	}
	return out
}

func line(port uint32, dir, layer, word, group, rule string, reason observe.Reason) string {
	return fmt.Sprintf("%d/%s %s %s %s %s %v", port, dir, layer, word, group, rule, reason)
}

// state is everything that packets change.
func (j *judge) state() string {
	j.t.Helper()
	flows, err1 := j.d.Flows()
	drops, err2 := j.d.Drops()
	traffic, err3 := j.d.Traffic()
	untold, err4 := j.d.Untold()
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			j.t.Fatal(err)
		}
	}
	for i := range flows {
		flows[i].Idle = 0
	}
	slices.SortFunc(flows, func(a, b observe.Flow) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	var buckets []bucketRecord
	for slot := range j.d.coll.Maps["port_buckets"].MaxEntries() {
		var b bucketRecord
		if err := j.d.coll.Maps["port_buckets"].Lookup(slot, &b); err != nil {
			j.t.Fatal(err)
		}
		if b != (bucketRecord{}) {
			buckets = append(buckets, b)
		}
	}
	return fmt.Sprint(flows, drops, traffic, untold, buckets)
}

// A trace of a port that is not here, and one of a frame that no program takes, is refused.
func TestTraceRefusals(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		j.load(twoPorts(netip.MustParseAddr("198.18.0.11")))
		if _, err := j.d.Trace(77, model.Packet{EtherType: model.EtherARP, ARPOp: 1}.Frame()); err == nil {
			t.Error("a port that is not here was traced")
		}
		if _, err := j.d.Trace(1, []byte{1, 2, 3}); err == nil {
			t.Error("three bytes were traced")
		}
		h := j.d.kernel.ports[1]
		got, err := j.d.Trace(1, model.Open(&goal.Port{MAC: h.record.MAC, Addresses: []goal.Address{{IP: netip.MustParseAddr("10.0.0.4")}}}, goal.TCP, netip.MustParseAddr("10.0.0.5"), 1, 2).Frame())
		if err != nil || got.Action != observe.Delivered || len(got.Frame) == 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
