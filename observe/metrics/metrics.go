// Package metrics writes what the control plane and its hosts count for Prometheus.
//
// In: the moments of writes, as they happen (Server), and the state of the fabric at the time of a scrape (State). Out: the text that
// Prometheus reads, with the metrics of Catalogue and no others. Every label is bounded by the installation (hosts, types of the API,
// reasons), never by what tenants make. The server owns a Server; this is the only package that knows the Prometheus library.
package metrics

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringfence/observe"
)

// Metric describes one metric to people.
type Metric struct {
	Name, Kind, Help string
	Labels           []string
}

// Labels says what bounds each label.
var Labels = []struct{ Name, Bound string }{
	{"host", "hosts of the fabric"},
	{"type", "types of the API, as `Microsoft.Network/networkSecurityGroups`"},
	{"verb", "`put`, `delete`"},
	{"outcome", "`ok`, `refused` (the client's fault), `conflict` (another write was faster), `failed`; of services the words of `observe.ServiceOutcomes`: `answered`, `forwarded`, `failed`, `refused`, `ignored`, `malformed`, `limited`, `stranger`, `unsent`"},
	{"service", "`dhcp`, `dns`, `metadata`"},
	{"reason", "the reasons in docs/pipeline.md"},
	{"direction", "`out`, `in`: the VM's"},
	{"fate", "`sent`, `delivered`, `local`, `encapsulated`, `service`, `answered`, `served`"},
	{"version", "versions that run: one but during an upgrade"},
}

// Outcomes of a write.
const (
	OK       = "ok"
	Refused  = "refused"
	Conflict = "conflict"
	Failed   = "failed"
)

const (
	gauge     = "gauge"
	counter   = "counter"
	histogram = "histogram"
)

var catalogue = []Metric{
	{"ringfence_write_seconds", histogram, "How long a write took until it was stored or refused, the wait for other writes included.", []string{"type", "verb", "outcome"}},
	{"ringfence_enforced_seconds", histogram, "How long a stored write waited until every connected host that it concerns had acknowledged it.", []string{"outcome"}},
	{"ringfence_operations_pending", gauge, "Stored writes that wait for hosts.", nil},
	{"ringfence_revision", gauge, "Newest revision that goals depend on.", nil},
	{"ringfence_published_revision", gauge, "Newest revision whose goals were given to the hosts; below ringfence_revision for longer than a moment: goals cannot be compiled.", nil},
	{"ringfence_documents", gauge, "Documents that are stored.", nil},
	{"ringfence_store_file_bytes", gauge, "Size of the store's file.", nil},
	{"ringfence_store_live_bytes", gauge, "What of it is in use.", nil},
	{"ringfence_store_quota_bytes", gauge, "How large the file may get; beyond it writes are refused until room is made.", nil},
	{"ringfence_publish_bytes_total", counter, "Bytes of goals and questions sent to hosts, before encryption.", nil},
	{"ringfence_host_connected", gauge, "1 while the host's agent is connected to this server.", []string{"host"}},
	{"ringfence_host_problem", gauge, "1 while the host cannot enforce its goal completely.", []string{"host"}},
	{"ringfence_host_goal_generation", gauge, "Revision in which the host's goal changed last.", []string{"host"}},
	{"ringfence_host_acked_generation", gauge, "Newest revision that the host acknowledged.", []string{"host"}},
	{"ringfence_host_ack_lag", gauge, "Revisions between the host's goal and what it acknowledged; 0 when it enforces its goal.", []string{"host"}},
	{"ringfence_host_up", gauge, "1 when the host answered this scrape; the metrics below are missing for a host that did not.", []string{"host"}},
	{"ringfence_host_info", gauge, "Always 1; tells the agent's version.", []string{"host", "version"}},
	{"ringfence_host_enforced_generation", gauge, "Generation of the goal that the host's kernel enforces.", []string{"host"}},
	{"ringfence_host_ports", gauge, "Ports in the host's goal.", []string{"host"}},
	{"ringfence_host_ports_ready", gauge, "Ports whose sandbox is configured.", []string{"host"}},
	{"ringfence_host_drops_total", counter, "Packets dropped, by reason.", []string{"host", "direction", "reason"}},
	{"ringfence_host_packets_total", counter, "Packets that were not dropped, by what became of them; sent counts all that VMs sent.", []string{"host", "fate"}},
	{"ringfence_host_flows", gauge, "Entries of the flow tables in use.", []string{"host"}},
	{"ringfence_host_flows_limit", gauge, "Entries that the flow tables have room for; when they are full, new flows are dropped.", []string{"host"}},
	{"ringfence_host_flows_relearning_seconds", gauge, "For how much longer segments of unknown TCP connections are judged like first packets, after a loss of all flows.", []string{"host"}},
	{"ringfence_host_apply_seconds", histogram, "How long the agent took to bring the kernel to a goal.", []string{"host"}},
	{"ringfence_host_service_requests_total", counter, "Requests of VMs to the host's services, by what became of them; they begin anew with the services' process.", []string{"host", "service", "outcome"}},
	{"ringfence_host_apply_failures_total", counter, "Goals that the agent could not enforce completely; it tries again.", []string{"host"}},
	{"ringfence_host_loaded_differences_total", counter, "Differences found between the tables that are loaded, read back from the kernel, and the goal. Each is an alarm: something else writes into them, or a program is wrong.", []string{"host"}},
}

// Catalogue lists every metric, in the order in which they are documented.
func Catalogue() []Metric { return append([]Metric(nil), catalogue...) }

var descs = func() map[string]*prometheus.Desc {
	out := map[string]*prometheus.Desc{}
	for _, m := range catalogue {
		out[m.Name] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}
	return out
}()

func described(name string) Metric {
	for _, m := range catalogue {
		if m.Name == name {
			return m
		}
	}
	panic("metrics: " + name + " is not in the catalogue")
}

// State is the fabric at the time of a scrape.
type State struct {
	Revision, Published uint64
	Documents           int
	File, Live, Quota   int64 // File 0: the store did not answer
	PublishBytes        uint64
	Hosts               []Host
}

// Host is one host at the time of a scrape.
type Host struct {
	Name              string
	Connected         bool
	Problem           bool
	Generation, Acked uint64
	Sample            *observe.Sample // nil: it did not answer
}

// Server counts what happens to writes and answers scrapes.
type Server struct {
	registry *prometheus.Registry
	writes   *prometheus.HistogramVec
	enforced *prometheus.HistogramVec
	pending  prometheus.Gauge
}

// New returns a Server that has counted nothing.
func New() *Server {
	vec := func(name string, buckets []float64) *prometheus.HistogramVec {
		m := described(name)
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: buckets}, m.Labels)
	}
	waiting := described("ringfence_operations_pending")
	s := &Server{registry: prometheus.NewRegistry(),
		writes:   vec("ringfence_write_seconds", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}),
		enforced: vec("ringfence_enforced_seconds", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 600}),
		pending:  prometheus.NewGauge(prometheus.GaugeOpts{Name: waiting.Name, Help: waiting.Help})}
	s.registry.MustRegister(s.writes, s.enforced, s.pending)
	return s
}

// Wrote counts a write of a type of the API.
func (s *Server) Wrote(typ, verb, outcome string, took time.Duration) {
	s.writes.WithLabelValues(typ, verb, outcome).Observe(took.Seconds())
}

// Waiting counts a stored write until the returned function is called with the outcome of the wait for hosts.
func (s *Server) Waiting() (done func(outcome string)) {
	began := time.Now()
	s.pending.Inc()
	return func(outcome string) {
		s.pending.Dec()
		s.enforced.WithLabelValues(outcome).Observe(time.Since(began).Seconds())
	}
}

// Handler answers scrapes; state looks at the fabric, for not longer than the context lasts.
func (s *Server) Handler(state func(context.Context) State) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := prometheus.NewRegistry()
		now.MustRegister(snapshot{state(r.Context())})
		all := prometheus.Gatherers{s.registry, now}
		promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
	})
}
