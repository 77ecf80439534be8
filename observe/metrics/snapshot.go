package metrics

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/observe"
)

// snapshot is a State as a collector.
type snapshot struct{ s State }

// Describe tells nothing: what a collector of one scrape has is checked when it is gathered.
func (snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect writes the State.
func (c snapshot) Collect(out chan<- prometheus.Metric) {
	put := func(name string, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if described(name).Kind == counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(descs[name], kind, value, labels...)
	}
	put("ringfence_revision", float64(c.s.Revision))
	put("ringfence_published_revision", float64(c.s.Published))
	put("ringfence_documents", float64(c.s.Documents))
	if c.s.File > 0 {
		put("ringfence_store_file_bytes", float64(c.s.File))
		put("ringfence_store_live_bytes", float64(c.s.Live))
		put("ringfence_store_quota_bytes", float64(c.s.Quota))
	}
	put("ringfence_publish_bytes_total", float64(c.s.PublishBytes))
	for _, h := range c.s.Hosts {
		put("ringfence_host_connected", is(h.Connected), h.Name)
		put("ringfence_host_problem", is(h.Problem), h.Name)
		put("ringfence_host_goal_generation", float64(h.Generation), h.Name)
		put("ringfence_host_acked_generation", float64(h.Acked), h.Name)
		put("ringfence_host_ack_lag", float64(h.Generation-min(h.Generation, h.Acked)), h.Name)
		put("ringfence_host_up", is(h.Sample != nil), h.Name)
		if h.Sample != nil {
			put := func(name string, value float64, labels ...string) {
				put("ringfence_host_"+name, value, append([]string{h.Name}, labels...)...)
			}
			sample(h.Sample, put)
			out <- apply(h.Name, &h.Sample.Apply)
		}
	}
}

func is(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// sample writes what a host counted. Reasons and fates that this program does not know are of another version: they are left out, so
// that no host decides how many series there are.
func sample(s *observe.Sample, put func(name string, value float64, labels ...string)) {
	put("info", 1, cmp.Or(s.Version, "unknown"))
	put("enforced_generation", float64(s.Generation))
	put("ports", float64(s.Ports))
	put("ports_ready", float64(s.Ready))
	for _, d := range s.Drops {
		if known[d.Reason] && (d.Direction == "in" || d.Direction == "out") {
			put("drops_total", float64(d.Packets), d.Direction, d.Reason)
		}
	}
	for _, f := range observe.Fates {
		put("packets_total", float64(s.Packets[f]), f)
	}
	for _, name := range observe.ServiceNames {
		for _, o := range observe.ServiceOutcomes {
			if n, ok := s.Services[name][o]; ok {
				put("service_requests_total", float64(n), name, o)
			}
		}
	}
	put("flows", float64(s.Flows))
	put("flows_limit", float64(s.FlowLimit))
	put("flows_relearning_seconds", s.Relearning)
	put("apply_failures_total", float64(s.Failures))
	put("loaded_differences_total", float64(s.Differences))
}

var known = func() map[string]bool {
	out := map[string]bool{}
	for _, r := range observe.Reasons() {
		out[r.Name] = true
	}
	return out
}()

func apply(host string, h *observe.Histogram) prometheus.Metric {
	buckets, below := map[float64]uint64{}, uint64(0)
	for i, bound := range observe.ApplyBounds {
		if i < len(h.Buckets) {
			below += h.Buckets[i]
		}
		buckets[bound] = below
	}
	return prometheus.MustNewConstHistogram(descs["ringfence_host_apply_seconds"], h.Count, h.Sum, buckets, host)
}
