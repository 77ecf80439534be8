package observe

import "time"

// Sample is what a host has counted since its agent or its data plane began: numbers for metrics, without anything whose variety
// grows with tenants, ports or rules.
type Sample struct {
	Version     string            `json:"version"`
	Generation  uint64            `json:"generation"` // enforced, as the kernel says
	Ports       int               `json:"ports"`
	Ready       int               `json:"ready"` // sandboxes that are configured
	Drops       []DropSum         `json:"drops"`
	Packets     map[string]uint64 `json:"packets"` // by what became of them: see Fates
	Flows       uint64            `json:"flows"`
	FlowLimit   uint64            `json:"flowLimit"`
	Relearning  float64           `json:"relearning"`  // seconds for which connections of before a loss of all flows are taken up again
	Apply       Histogram         `json:"apply"`       // seconds from a goal's arrival at the loop to its end
	Failures    uint64            `json:"failures"`    // goals that could not be enforced completely
	Differences uint64            `json:"differences"` // between what was loaded, read back, and the goal
	Services    Requests          `json:"services,omitempty"`
}

// Requests counts requests by service and outcome, since the services' process began.
type Requests map[string]map[string]uint64

// What serves VMs, and what becomes of their requests. A stranger is no port of the host; unsent is an answer that could not be sent.
var (
	ServiceNames    = []string{"dhcp", "dns", "metadata"}
	ServiceOutcomes = []string{"answered", "forwarded", "failed", "refused", "ignored", "malformed", "limited", "stranger", "unsent"}
)

// DropSum is the number of packets of all ports that were dropped for one reason.
type DropSum struct {
	Direction string `json:"direction"`
	Reason    string `json:"reason"`
	Packets   uint64 `json:"packets"`
}

// Fates are what becomes of packets that are not dropped, as Traffic counts them; sent is all that came from VMs.
var Fates = []string{"sent", "delivered", "local", "encapsulated", "service", "answered", "served"}

// Sum adds up the traffic of all ports by fate.
func Sum(all []Traffic) map[string]uint64 {
	out := map[string]uint64{}
	for _, f := range Fates {
		out[f] = 0
	}
	for _, t := range all {
		for i, n := range []uint64{t.Sent, t.Delivered, t.Local, t.Encap, t.Service, t.Answered, t.Served} {
			out[Fates[i]] += n
		}
	}
	return out
}

// ApplyBounds are the upper bounds of the buckets of Sample.Apply, in seconds.
var ApplyBounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10}

// Histogram counts durations by ApplyBounds.
type Histogram struct {
	Buckets []uint64 `json:"buckets"` // one per bound, not cumulative; larger ones are in Count only
	Count   uint64   `json:"count"`
	Sum     float64  `json:"sum"`
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	if h.Buckets == nil {
		h.Buckets = make([]uint64, len(ApplyBounds))
	}
	s := d.Seconds()
	h.Count++
	h.Sum += s
	for i, b := range ApplyBounds {
		if s <= b {
			h.Buckets[i]++
			return
		}
	}
}

// Grade says how bad a finding is.
type Grade string

// The grades, from good to bad.
const (
	OK   Grade = "ok"
	Warn Grade = "warn"
	Fail Grade = "fail"
)

// Finding is one thing that was looked at, and what to do about it when it is not as it should be.
type Finding struct {
	State Grade  `json:"state"`
	Where string `json:"where"` // host name, server, or store
	Topic string `json:"topic"` // one word: kernel, mtu, clock …
	What  string `json:"what"`
	Cure  string `json:"cure,omitempty"` // empty when all is well
}

// Checkup is a host's answer about its own health.
type Checkup struct {
	Now      time.Time `json:"now"` // the host's clock
	Version  string    `json:"version"`
	Findings []Finding `json:"findings"`
}
