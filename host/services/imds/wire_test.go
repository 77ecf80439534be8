package imds

import (
	"encoding/xml"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"ringfence/goal"
)

func wire(s *Server, method, url, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	r.RemoteAddr = "100.64.0.1:1"
	w := httptest.NewRecorder()
	s.known(s.wire, s.wireLimit).ServeHTTP(w, r)
	return w
}

func TestWireServer(t *testing.T) {
	s := testServer()
	var v struct {
		Preferred string   `xml:"Preferred>Version"`
		Supported []string `xml:"Supported>Version"`
	}
	w := wire(s, "GET", "/?comp=versions", "")
	if err := xml.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 || !slices.Contains(v.Supported, v.Preferred) || !slices.Contains(v.Supported, "2012-11-30") {
		t.Errorf("%v: %d %s", err, w.Code, w.Body)
	}
	for _, url := range []string{"/machine/?comp=config", "/", "/x?comp=versions", "/metadata/instance", "/machine?comp=telemetrydata"} {
		var e struct{ Code, Message string }
		w := wire(s, "GET", url, "")
		if err := xml.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != 404 || e.Code != "ResourceNotAvailable" {
			t.Errorf("%s: %v, %d %s", url, err, w.Code, w.Body)
		}
	}
	for url, method := range map[string]string{"/?comp=versions": "POST", "/machine?comp=goalstate": "PUT", "/machine?comp=health": "GET"} {
		if w := wire(s, method, url, ""); w.Code != 405 || w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: %d", method, url, w.Code)
		}
	}
}

// A provisioning guest reads who it is and reports with that; a report about somebody else is none.
func TestHealth(t *testing.T) {
	s := testServer()
	s.wireLimit = newLimiter(1e6)
	for _, url := range []string{"/machine/?comp=goalstate", "/machine?comp=goalstate"} {
		w := wire(s, "GET", url, "")
		for path, want := range map[string]string{"<Incarnation>": "1", "<ContainerId>": "id-1", "<InstanceId>": "id-1._web"} {
			if w.Code != 200 || !strings.Contains(w.Body.String(), path+want+"</") {
				t.Errorf("%s: %d without %s%s: %s", url, w.Code, path, want, w.Body)
			}
		}
	}
	report := func(incarnation, container, instance, state string) string {
		return `<?xml version="1.0" encoding="utf-8"?><Health><GoalStateIncarnation>` + incarnation + `</GoalStateIncarnation><Container><ContainerId>` + container +
			`</ContainerId><RoleInstanceList><Role><InstanceId>` + instance + `</InstanceId><Health><State>` + state +
			`</State><Details><SubStatus>ProvisioningFailed</SubStatus><Description>no disk</Description></Details></Health></Role></RoleInstanceList></Container></Health>`
	}
	for body, code := range map[string]int{
		report("1", "id-1", "id-1._web", "Ready"):    200,
		report("1", "id-1", "id-1._web", "NotReady"): 200,
		report("1", "id-1", "id-1._web", "Gone"):     400,
		report("2", "id-1", "id-1._web", "Ready"):    400,
		report("1", "id-2", "id-1._web", "Ready"):    400,
		report("1", "id-1", "id-2._web", "Ready"):    400,
		"<Health/>": 400, "": 400, "<Health": 400, "<GoalState/>": 400,
		"<Health>" + strings.Repeat("<x>", longestReport) + "</Health>": 400,
	} {
		if w := wire(s, "POST", "/machine?comp=health", body); w.Code != code {
			t.Errorf("%.300s: %d %s", body, w.Code, w.Body)
		}
	}
	if len(s.healths.last) != 1 {
		t.Errorf("remembered %v", s.healths.last)
	}
	if s.Set(&goal.Host{}); len(s.healths.last) != 0 {
		t.Error("VMs that are gone are remembered")
	}
}

// Two NICs that are no VM's are two machines.
func TestNobodysNICs(t *testing.T) {
	table := newTable(&goal.Host{Ports: []goal.Port{{Index: 1, ID: "/a"}, {Index: 2, ID: "/b"}}})
	if a, b := table.ports[1], table.ports[2]; a == b || len(a.nics) != 1 || a.id == b.id {
		t.Errorf("%+v and %+v", a, b)
	}
}

func FuzzHealth(f *testing.F) {
	f.Add(`<Health><GoalStateIncarnation>1</GoalStateIncarnation><Container><ContainerId>id-1</ContainerId></Container></Health>`)
	f.Add("<Health><Container><RoleInstanceList><Role><Health><State>Ready</State></Health></Role></RoleInstanceList></Container></Health>")
	m := newTable(someHost()).ports[1]
	f.Fuzz(func(t *testing.T, body string) {
		state, details, err := readHealth(strings.NewReader(body), m)
		if err == nil && (state != "Ready" && state != "NotReady" || len(details) > 512 || !strings.Contains(body, "id-1")) {
			t.Fatalf("%q %q", state, details)
		}
	})
}
