package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"ringfence/intent/arm"
	"ringfence/intent/resource"
	"ringfence/observe"
	"ringfence/observe/metrics"
)

// plain is a GET without any token; as the operator when asked for.
func (p *plane) plain(path string, operator bool) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(within(p.t), http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if operator {
		req.Header.Set("Operator", "yes")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Who has no token learns whether the server lives and is ready, and nothing else.
func TestHealthAndReadiness(t *testing.T) {
	p := newPlane(t)
	if status, text := p.plain("/healthz", false); status != 200 || text != "ok\n" {
		t.Errorf("healthz: %d %q", status, text)
	}
	eventually(t, "the server is ready", func() bool {
		status, text := p.plain("/readyz", false)
		return status == 200 && text == "ok\n"
	})
	if status, text := p.plain("/metrics", false); status == 200 || strings.Contains(text, "ringfence_") {
		t.Errorf("metrics for everybody: %d %q", status, text)
	}
	p.condition.gaveOut(errors.New("secret of contoso"))
	if status, text := p.plain("/readyz", false); status != 503 || !strings.HasPrefix(text, "goals: ") || strings.Contains(text, "contoso") {
		t.Errorf("goals that cannot be given out: %d %q", status, text)
	}
	p.condition.gaveOut(nil)
	p.condition.set(func(c *condition) { c.ending = true })
	if status, text := p.plain("/readyz", false); status != 503 || text != "server: it ends\n" {
		t.Errorf("a server that ends: %d %q", status, text)
	}
	p.store.Close()
	if status, text := p.plain("/readyz", false); status != 503 || !strings.Contains(text, "store: ") {
		t.Errorf("a store that is gone: %d %q", status, text)
	}
	if status, _ := p.plain("/healthz", false); status != 200 {
		t.Errorf("a process that answers is not healthy: %d", status)
	}
}

func TestMetricsOfAFabric(t *testing.T) {
	p := newPlane(t)
	h := p.hostThat("host1", "198.18.0.11", func(kind string) (json.RawMessage, error) {
		if kind != "metrics" {
			return nil, errors.New(kind)
		}
		return json.Marshal(observe.Sample{Version: "v7", Drops: []observe.DropSum{{Direction: "in", Reason: "acl_rule", Packets: 4}}, FlowLimit: 9})
	})
	h.obey()
	quiet := p.hostThat("host2", "198.18.0.12", func(string) (json.RawMessage, error) { return nil, errors.New("no luck") })
	quiet.obey()
	p.settled()
	p.network()
	if r := p.do(http.MethodPut, network+"networkSecurityGroups/n", `{"location":"nowhere","properties":{"securityRules":[{"name":"x"}]}}`); r.status/100 != 4 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	status, text := p.plain("/metrics", true)
	if status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	for _, want := range []string{
		`ringfence_write_seconds_count{outcome="ok",type="Microsoft.Network/virtualNetworks",verb="put"} 1`,
		`ringfence_enforced_seconds_count{outcome="ok"}`, "ringfence_operations_pending 0", "ringfence_documents 5", "ringfence_store_quota_bytes 8.58",
		`ringfence_host_drops_total{direction="in",host="host1",reason="acl_rule"} 4`, `ringfence_host_info{host="host1",version="v7"} 1`,
		`ringfence_host_flows_limit{host="host1"} 9`, `ringfence_host_up{host="host2"} 0`, `ringfence_host_connected{host="host2"} 1`,
		`ringfence_host_ack_lag{host="host1"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %s", want)
		}
	}
	for _, wrong := range []string{"ringfence_publish_bytes_total 0\n", "ringfence_store_file_bytes 0\n", "ringfence_revision 0\n"} {
		if strings.Contains(text, wrong) {
			t.Errorf("a line %s", wrong)
		}
	}
	for _, id := range []string{"/subscriptions/", "10.0.1.4"} {
		if strings.Contains(text, id) {
			t.Errorf("%s is a label", id)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for want, err := range map[string]error{metrics.OK: nil, metrics.Conflict: errors.Join(arm.ErrConflict, errors.New("x")),
		metrics.Refused: resource.Faults{{Status: 400}}, metrics.Failed: errors.New("no luck")} {
		if got := outcome(err); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
}
