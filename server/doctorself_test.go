package server

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringfence/observe"
	"ringfence/pki"
)

func TestCertificatesAreLookedAt(t *testing.T) {
	now := time.Now()
	a, err := pki.New("test", now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := namedPair{"API", pki.Pair{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}}
	if f := certificateFit(p, now); f.State != observe.Fail || f.Cure == "" {
		t.Errorf("no file: %+v", f)
	}
	if _, err := a.EnsureAPI(p.Pair, now, pki.Life, "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]observe.Grade{time.Minute: observe.OK, pki.Life * 9 / 10: observe.Warn, 2 * pki.Life: observe.Fail, -48 * time.Hour: observe.Fail} {
		if f := certificateFit(p, now.Add(after)); f.State != want || (f.Cure == "") != (want == observe.OK) || !strings.HasPrefix(f.What, "API") {
			t.Errorf("after %v: %+v", after, f)
		}
	}
}

func TestMembersAreLookedAt(t *testing.T) {
	now := time.Now()
	here := ServerStatus{Name: "s1", State: "voting", Alive: true, Seen: now}
	for _, c := range []struct {
		other ServerStatus
		want  observe.Grade
		text  string
	}{
		{ServerStatus{Name: "s2", State: "voting", Alive: true, Seen: now}, observe.OK, "servers: 2"},
		{ServerStatus{Name: "s2", State: "learning", Alive: true, Seen: now}, observe.Warn, "no vote"},
		{ServerStatus{Name: "(not started)", State: "invited"}, observe.Warn, "not come"},
		{ServerStatus{Name: "s2", State: "voting", Seen: now.Add(-time.Hour)}, observe.Fail, "s2 is not there"},
		{ServerStatus{Name: "s2", State: "voting", Seen: now.Add(time.Hour)}, observe.Warn, "1h0m0s ahead"},
	} {
		f := membersFit([]ServerStatus{here, c.other}, now)
		if len(f) != 1 || f[0].State != c.want || !strings.Contains(f[0].What, c.text) || (f[0].Cure == "") != (c.want == observe.OK) {
			t.Errorf("%+v: %+v", c.other, f)
		}
	}
}
