package agent

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

// keptEvents bounds the events an agent remembers.
const keptEvents = 4096

// events are the newest dropped packets. Each has a number; the process's own name before it tells numbers of another process apart.
type events struct {
	kept  []EventRecord // a ring once it is full
	next  uint64        // number of the next one
	epoch string
	more  chan struct{} // closed when there is one more; nil while nobody waits
}

// Following is the answer to the question "follow": what was dropped since the question before.
type Following struct {
	Next   string            `json:"next"` // cursor for the next question
	Events []EventRecord     `json:"events"`
	Missed uint64            `json:"missed,omitempty"` // events that are not remembered any more
	Untold map[string]uint64 `json:"untold,omitempty"` // by reason: packets for which there never was an event, since the agent began
	Epoch  string            `json:"epoch"`            // names the agent's process
}

// Bounds of one answer.
const (
	longestWait = 10 * time.Second
	gatherTime  = 20 * time.Millisecond // so that a burst is one answer
)

func (e *events) add(r EventRecord) {
	if len(e.kept) < keptEvents {
		e.kept = append(e.kept, r)
	} else {
		e.kept[e.next%keptEvents] = r
	}
	e.next++
	if e.more != nil {
		close(e.more)
		e.more = nil
	}
}

// since lists the kept events from a number on, and how many before them are gone.
func (e *events) since(n uint64) (out []EventRecord, missed uint64) {
	oldest := e.next - uint64(len(e.kept))
	if n < oldest {
		n, missed = oldest, oldest-n
	}
	for ; n < e.next; n++ {
		out = append(out, e.kept[n%keptEvents])
	}
	return out, missed
}

// record keeps a dropped packet.
func (s *answers) record(e observe.Event) {
	r := EventRecord{Time: e.Time, Where: s.where(e.Port), Direction: e.Dir.String(), Why: why(e.Reason, e.Group, e.Rule, e.Revision),
		EtherType: fmt.Sprintf("0x%04x", e.EtherType), SourceMAC: goal.MAC(e.SrcMAC), DestinationMAC: goal.MAC(e.DstMAC),
		Protocol: goal.ProtocolName(e.Tuple.Protocol), Source: e.Tuple.Src, SourcePort: e.Tuple.SrcPort,
		Destination: e.Tuple.Dst, DestinationPort: e.Tuple.DstPort, Length: e.Len}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events.add(r)
}

func (s *answers) recent() []EventRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, _ := s.events.since(0)
	if out == nil {
		return []EventRecord{}
	}
	return out
}

// Watch keeps recent events until ctx ends.
func (a *Agent) Watch(ctx context.Context, events func(context.Context, func(observe.Event)) error) error {
	return events(ctx, a.answers.record)
}

// follow answers with what came after the cursor, as soon as there is something, else after the given time. Without a cursor it
// answers at once, with one from now on; a cursor of an earlier process stands for all that this one has.
func (a *Agent) follow(q url.Values) (f Following, err error) {
	wait, err := time.ParseDuration(q.Get("wait"))
	if q.Has("wait") && (err != nil || wait > longestWait) {
		return f, fmt.Errorf("wait %q: a duration of at most %v expected", q.Get("wait"), longestWait)
	}
	s, after := &a.answers, q.Get("after")
	s.mu.Lock()
	from := s.events.next
	if epoch, number, ok := strings.Cut(after, "."); ok {
		if from, err = strconv.ParseUint(number, 10, 64); err != nil || from > s.events.next || epoch != s.events.epoch {
			from = 0
		}
	}
	if after != "" && from == s.events.next {
		s.pause(wait)
	}
	f.Events, f.Missed = s.events.since(from)
	f.Next, f.Epoch = fmt.Sprintf("%s.%d", s.events.epoch, s.events.next), s.events.epoch
	s.mu.Unlock()
	if f.Events == nil {
		f.Events = []EventRecord{}
	}
	untold, err := a.Datapath.Untold()
	f.Untold = make(map[string]uint64, len(untold))
	for reason, n := range untold {
		f.Untold[reason.String()] = n
	}
	return f, err
}

// pause waits for an event, and a moment longer for those that come with it. s.mu is held before and after.
func (s *answers) pause(wait time.Duration) {
	if s.events.more == nil {
		s.events.more = make(chan struct{})
	}
	more := s.events.more
	s.mu.Unlock()
	defer s.mu.Lock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-more:
		time.Sleep(gatherTime)
	case <-t.C:
	}
}
