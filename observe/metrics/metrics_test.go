package metrics

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/observe"
)

// full is a fabric in which every metric occurs.
func full() State {
	h := observe.Histogram{}
	h.Add(3 * time.Millisecond)
	return State{Revision: 9, Published: 8, Documents: 3, File: 100, Live: 50, Quota: 1000, PublishBytes: 77, Hosts: []Host{
		{Name: "host1", Connected: true, Generation: 7, Acked: 5, Sample: &observe.Sample{Version: "v1", Generation: 5, Ports: 2, Ready: 1,
			Drops:   []observe.DropSum{{Direction: "in", Reason: "acl_rule", Packets: 4}, {Direction: "in", Reason: "of_tomorrow", Packets: 1}},
			Packets: map[string]uint64{"sent": 10, "invented": 3}, Flows: 6, FlowLimit: 12, Apply: h, Failures: 2,
			Services: observe.Requests{"dns": {"answered": 5, "of_tomorrow": 1}, "of_tomorrow": {"answered": 1}}}},
		{Name: "host2", Problem: true, Generation: 3, Acked: 9},
	}}
}

func scrape(t *testing.T, s *Server, st State) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler(func(context.Context) State { return st }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// What is documented is what is answered: every metric of the catalogue with its kind, its sentence and its labels, and no other.
func TestTheCatalogueIsWhatIsAnswered(t *testing.T) {
	s := New()
	s.Wrote("Microsoft.Network/virtualNetworks", "put", OK, time.Millisecond)
	s.Waiting()(OK)
	text := scrape(t, s, full())
	var want []string
	for _, m := range Catalogue() {
		want = append(want, m.Name)
		if !strings.Contains(text, "# HELP "+m.Name+" "+m.Help+"\n# TYPE "+m.Name+" "+m.Kind+"\n") {
			t.Errorf("%s is not answered as a %s with its help", m.Name, m.Kind)
		}
		for _, l := range m.Labels {
			if !strings.Contains(text, "\n"+m.Name) || !slices.ContainsFunc(Labels, func(b struct{ Name, Bound string }) bool { return b.Name == l }) {
				t.Errorf("%s: the label %s has no bound", m.Name, l)
			}
		}
		if m.Kind == counter != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%s is a %s", m.Name, m.Kind)
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok && !slices.Contains(want, strings.Fields(name)[0]) {
			t.Errorf("answered and not in the catalogue: %s", name)
		}
	}
}

func TestValues(t *testing.T) {
	s := New()
	s.Wrote("Microsoft.Network/virtualNetworks", "put", Refused, 3*time.Millisecond)
	done := s.Waiting()
	text := scrape(t, s, full())
	for _, want := range []string{
		`ringfence_write_seconds_bucket{outcome="refused",type="Microsoft.Network/virtualNetworks",verb="put",le="0.0025"} 0`,
		`ringfence_write_seconds_bucket{outcome="refused",type="Microsoft.Network/virtualNetworks",verb="put",le="0.005"} 1`,
		"ringfence_operations_pending 1", "ringfence_revision 9", "ringfence_store_quota_bytes 1000", "ringfence_publish_bytes_total 77",
		`ringfence_host_ack_lag{host="host1"} 2`, `ringfence_host_ack_lag{host="host2"} 0`, `ringfence_host_problem{host="host2"} 1`,
		`ringfence_host_up{host="host2"} 0`, `ringfence_host_drops_total{direction="in",host="host1",reason="acl_rule"} 4`,
		`ringfence_host_packets_total{fate="sent",host="host1"} 10`, `ringfence_host_packets_total{fate="served",host="host1"} 0`,
		`ringfence_host_apply_seconds_bucket{host="host1",le="0.0025"} 0`, `ringfence_host_apply_seconds_bucket{host="host1",le="10"} 1`,
		`ringfence_host_info{host="host1",version="v1"} 1`, `ringfence_host_apply_failures_total{host="host1"} 2`, `ringfence_host_service_requests_total{host="host1",outcome="answered",service="dns"} 5`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	for _, wrong := range []string{"of_tomorrow", "invented", `ringfence_host_flows{host="host2"}`} {
		if strings.Contains(text, wrong) {
			t.Errorf("%s is answered", wrong)
		}
	}
	done(Failed)
	if text := scrape(t, s, State{}); !strings.Contains(text, "ringfence_operations_pending 0\n") || strings.Contains(text, "store_file") {
		t.Error("an operation stays pending, or a store that did not answer has a size")
	}
}
