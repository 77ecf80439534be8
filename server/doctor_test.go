package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"ringfence/observe"
	"ringfence/publish"
)

func (p *plane) findings(t *testing.T) map[string]observe.Finding {
	t.Helper()
	r := p.do(http.MethodGet, "/ringfence/v1/doctor", "")
	var l list[observe.Finding]
	if err := json.Unmarshal(r.body, &l); err != nil || r.status != 200 {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	out := map[string]observe.Finding{}
	for _, f := range l.Value {
		if f.Where == "" || f.Topic == "" || f.What == "" || (f.Cure == "") != (f.State == observe.OK) {
			t.Errorf("a finding without its parts, or a fault without its cure: %+v", f)
		}
		key := f.Where + " " + f.Topic
		if old, ok := out[key]; !ok || old.State == observe.OK {
			out[key] = f
		}
	}
	return out
}

func TestDoctor(t *testing.T) {
	p := newPlane(t)
	p.data = t.TempDir()
	if f := p.findings(t)["server hosts"]; f.State != observe.Warn {
		t.Errorf("no hosts: %+v", f)
	}
	skew, version := time.Duration(0), publish.Version()
	h := p.hostThat("host1", "198.18.0.11", func(kind string) (json.RawMessage, error) {
		return json.Marshal(observe.Checkup{Now: time.Now().Add(skew), Version: version,
			Findings: []observe.Finding{{State: observe.OK, Topic: "kernel", What: "Linux"}}})
	})
	h.obey()
	gone := p.host("host2", "198.18.0.12")
	gone.obey()
	p.settled()
	skew, version = -2*time.Hour, "of yesterday"
	gone.leave()
	eventually(t, "host2 is gone", func() bool { return !p.publisher.Hosts()[1].Connected })
	got := p.findings(t)
	for key, want := range map[string]observe.Grade{"server ready": observe.OK, "server disk": "", "store store": observe.OK, "host1 kernel": observe.OK,
		"host1 clock": observe.Fail, "host1 version": observe.Warn, "host2 agent": observe.Fail} {
		if f, ok := got[key]; !ok || want != "" && f.State != want {
			t.Errorf("%s: %+v, want %s", key, f, want)
		}
	}
}

func TestGrades(t *testing.T) {
	for _, c := range []struct {
		got  observe.Finding
		want observe.Grade
		text string
	}{
		{roomFit("/d", 2<<30), observe.OK, "2048 MiB"}, {roomFit("/d", 1<<29), observe.Warn, "/d"}, {roomFit("/d", 1<<20), observe.Fail, "1 MiB"},
		{sizeFit(9<<20, 1<<20, 10<<20), observe.OK, "9 MiB"}, {sizeFit(9<<20, 6<<20, 10<<20), observe.Warn, "6 MiB"}, {sizeFit(9<<20, 9<<20, 10<<20), observe.Fail, "10 MiB"},
		{sizeFit(9<<20, 9<<20, 0), observe.OK, "9 MiB"},
		{clockFit(time.Second, 500*time.Millisecond), observe.OK, "1s"}, {clockFit(-3*time.Second, time.Second), observe.Warn, "-3s"}, {clockFit(-2*time.Minute, time.Second), observe.Fail, "-2m0s"},
		{versionFit("a", "a"), observe.OK, "a"}, {versionFit("a", "b"), observe.Warn, "b"},
	} {
		if c.got.State != c.want || !strings.Contains(c.got.What, c.text) || (c.got.Cure == "") != (c.want == observe.OK) {
			t.Errorf("%+v, want %s with %q", c.got, c.want, c.text)
		}
	}
}
