package imds

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ringfence/goal"
)

// someHost has a VM with two NICs on ports 1 and 2, and another with the same address on port 7.
func someHost() *goal.Host {
	address := func(ip, subnet string) goal.Address {
		return goal.Address{IP: netip.MustParseAddr(ip), Subnet: netip.MustParsePrefix(subnet)}
	}
	web := goal.Compute{Name: "Web", Location: "westeurope", Group: "rg", Subscription: "0001", VMID: "id-1", Size: "Standard_B2s", Zone: "2", OSType: "Linux",
		Priority: "Regular", Image: goal.Image{Publisher: "Debian", Offer: "debian-12", SKU: "12", Version: "latest"}, AdminUser: "ann", NoPassword: true,
		Keys: []goal.Key{{Path: "/home/ann/.ssh/authorized_keys", Data: "ssh-ed25519 AAAA"}}, Tags: []goal.Tag{{Name: "Owner", Value: "A & B"}, {Name: "tier", Value: "web"}}}
	return &goal.Host{Generation: 42, Ports: []goal.Port{
		{Index: 1, VM: "/subscriptions/0001/vm/Web", Sandbox: goal.Sandbox{HostName: "web", Device: "eth1"}, MAC: goal.MAC{2, 0x52, 0x46, 0, 0, 1}, Compute: web,
			Addresses: []goal.Address{address("10.0.1.4", "10.0.1.0/26")}},
		{Index: 2, VM: "/subscriptions/0001/vm/Web", Primary: true, Sandbox: goal.Sandbox{HostName: "web", Device: "eth0"}, MAC: goal.MAC{2, 0x52, 0x46, 0, 0xab, 2}, Compute: web,
			Addresses: []goal.Address{address("10.0.0.4", "10.0.0.0/24"), address("10.0.0.9", "10.0.0.0/24"), address("fd00::4", "fd00::/64")}},
		{Index: 7, VM: "/subscriptions/0002/vm/other", Sandbox: goal.Sandbox{HostName: "other", Device: "eth0"}, MAC: goal.MAC{2, 0x52, 0x46, 0, 0, 7},
			Compute: goal.Compute{Name: "other"}, Addresses: []goal.Address{address("10.0.0.4", "10.0.0.0/24")}},
	}}
}

func testServer() *Server {
	s := newServer(Options{Rate: 1e6})
	s.Set(someHost())
	return s
}

// get asks as a port; headers are "Name: value", with the one that must be unless "-" stands first.
func get(s *Server, port uint32, url string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, url, nil)
	r.RemoteAddr = netip.AddrPortFrom(goal.Alias(port), 4711).String()
	if len(headers) > 0 && headers[0] == "-" {
		headers = headers[1:]
	} else {
		r.Header.Set("Metadata", "true")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.known(s.metadata, s.limit).ServeHTTP(w, r)
	return w
}

const latest = "api-version=2025-04-07"

func TestNetwork(t *testing.T) {
	want := `{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.4","publicIpAddress":""},{"privateIpAddress":"10.0.0.9","publicIpAddress":""}],` +
		`"subnet":[{"address":"10.0.0.0","prefix":"24"}]},"ipv6":{"ipAddress":[{"privateIpAddress":"fd00::4"}]},"macAddress":"02524600AB02"},` +
		`{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.1.4","publicIpAddress":""}],"subnet":[{"address":"10.0.1.0","prefix":"26"}]},"ipv6":{"ipAddress":[]},"macAddress":"025246000001"}]}`
	for _, port := range []uint32{1, 2} { // every NIC of a VM hears of all of them
		w := get(testServer(), port, "/metadata/instance/network?"+latest)
		if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%d %s %s\nwant %s", w.Code, w.Header(), w.Body, want)
		}
	}
}

func TestCompute(t *testing.T) {
	var got struct {
		Compute map[string]any
		Network map[string]any
	}
	w := get(testServer(), 1, "/metadata/instance?"+latest)
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Network == nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for field, want := range map[string]any{
		"name": "Web", "location": "westeurope", "resourceGroupName": "rg", "subscriptionId": "0001", "resourceId": "/subscriptions/0001/vm/Web",
		"vmId": "id-1", "vmSize": "Standard_B2s", "zone": "2", "osType": "Linux", "publisher": "Debian", "sku": "12", "priority": "Regular",
		"tags": "Owner:A & B;tier:web", "provider": "Microsoft.Compute", "userData": "", "customData": "", "licenseType": "",
		"tagsList":   []any{map[string]any{"name": "Owner", "value": "A & B"}, map[string]any{"name": "tier", "value": "web"}},
		"osProfile":  map[string]any{"adminUsername": "ann", "computerName": "web", "disablePasswordAuthentication": "true"},
		"publicKeys": []any{map[string]any{"keyData": "ssh-ed25519 AAAA", "path": "/home/ann/.ssh/authorized_keys"}},
	} {
		if d := cmp.Diff(want, got.Compute[field]); d != "" {
			t.Errorf("%s: %s", field, d)
		}
	}
	if !strings.Contains(w.Body.String(), `A & B`) {
		t.Error("text is escaped for HTML")
	}
	if w := get(testServer(), 7, "/metadata/instance/compute/name?format=text&"+latest); w.Body.String() != "other" {
		t.Errorf("another VM is told %q", w.Body)
	}
	onlyText(t, "compute", got.Compute)
}

// onlyText: all values are strings.
func onlyText(t *testing.T, path string, v any) {
	switch at := v.(type) {
	case map[string]any:
		for k, below := range at {
			onlyText(t, path+"/"+k, below)
		}
	case []any:
		for i, below := range at {
			onlyText(t, fmt.Sprint(path, "/", i), below)
		}
	case string:
	default:
		t.Errorf("%s is a %T", path, v)
	}
}

func TestFieldsComeWithTheirVersion(t *testing.T) {
	for version, fields := range map[string]map[string]bool{
		"2017-03-01": {"name": true, "vmId": true, "tags": false, "tagsList": false, "osProfile": false, "zone": false},
		"2019-06-01": {"tags": true, "tagsList": false, "storageProfile": true, "resourceId": true, "osProfile": false},
		"2020-09-01": {"tagsList": true, "osProfile": true, "userData": false, "priority": false},
		"2021-02-01": {"userData": true, "priority": true, "host": false},
		"2025-04-07": {"host": true, "physicalZone": true},
	} {
		for field, there := range fields {
			w := get(testServer(), 1, "/metadata/instance/compute?api-version="+version)
			if got := strings.Contains(w.Body.String(), `"`+field+`":`); got != there {
				t.Errorf("%s in %s: %t", field, version, got)
			}
		}
	}
	for field := range since {
		if _, ok := testServer().table.Load().ports[1].everything()[field]; !ok {
			t.Errorf("%s has a version and is no field", field)
		}
		if !slices.Contains(versions, since[field]) {
			t.Errorf("%s begins with %s, which is no version", field, since[field])
		}
	}
	if !slices.IsSorted(versions) {
		t.Error("versions are not in order")
	}
}

func TestRequests(t *testing.T) {
	const newest = `"newest-versions":["2025-04-07","2024-07-17","2024-03-15"]`
	for _, c := range []struct {
		url     string
		headers []string
		code    int
		body    string // part of it
	}{
		{"/metadata/instance", nil, 400, "api-version is invalid or was not specified"},
		{"/metadata/instance", nil, 400, newest},
		{"/metadata/instance?api-version=2022-01-01", nil, 400, newest},
		{"/metadata/instance?api-version=", nil, 400, newest},
		{"/metadata/instance?" + latest, []string{"-"}, 400, "Required metadata header not specified"},
		{"/metadata/versions", []string{"-"}, 400, "Required metadata header"},
		{"/metadata/instance?" + latest, []string{"-", "Metadata: false"}, 400, "Required metadata header"},
		{"/metadata/instance?" + latest, []string{"-", "metadata: True"}, 200, `{"compute":{`},
		{"/metadata/instance?" + latest, []string{"X-Forwarded-For: 10.0.0.1"}, 400, "X-Forwarded-For"},
		{"/metadata/instance?" + latest, []string{"x-forwarded-for: "}, 400, "X-Forwarded-For"},
		{"/metadata/versions", nil, 200, `{"apiVersions":["2017-03-01","2017-04-02",`},
		{"/metadata/instance/?" + latest, nil, 200, `"network":{`},
		{"//metadata/Instance/Network/interface/1/macAddress?format=text&" + latest, nil, 200, "025246000001"},
		{"/metadata/instance/network/interface/0/ipv4/ipAddress/0/privateIpAddress?format=text&" + latest, nil, 200, "10.0.0.4"},
		{"/metadata/instance/network/interface/0/ipv4/subnet/0?" + latest, nil, 200, `{"address":"10.0.0.0","prefix":"24"}`},
		{"/metadata/instance/network/interface/2?" + latest, nil, 404, `{"error":"Not found"}`},
		{"/metadata/instance/network/interface/-1?" + latest, nil, 404, "Not found"},
		{"/metadata/instance/network/interface/00?" + latest, nil, 404, "Not found"},
		{"/metadata/instance/compute/name/x?" + latest, nil, 404, "Not found"},
		{"/metadata/instance/nothing?" + latest, nil, 404, "Not found"},
		{"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F", nil, 400,
			`{"error":"invalid_request","error_description":"Identity not found"}`},
		{"/metadata/identity/oauth2/token?api-version=2018-02-01", nil, 400, "'resource' is missing"},
		{"/metadata/identity/oauth2/token?resource=x", nil, 400, "'api-version' is missing"},
		{"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x", []string{"-"}, 400, "Required metadata header not specified"},
		{"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x", []string{"X-Forwarded-For: 1"}, 400, "X-Forwarded-For"},
		{"/metadata/attested/document?" + latest, nil, 404, "no certificate"},
		{"/metadata/attested/document?nonce=1", nil, 400, newest},
		{"/metadata/loadbalancer?" + latest, nil, 404, "No load balancer metadata is found"},
		{"/metadata/loadbalancer", nil, 400, newest},
		{"/metadata/scheduledevents?api-version=2020-07-01", nil, 200, `{"DocumentIncarnation":1,"Events":[]}`},
		{"/metadata/scheduledevents?" + latest, nil, 400, `"newest-versions":["2020-07-01","2019-08-01","2019-04-01"]`},
		{"/metadata/instance?extended=true&api-version=2021-08-01", nil, 200, `"network":{`},
		{"/metadata/reprovisiondata?" + latest, nil, 404, "Not found"},
		{"/?" + latest, nil, 404, "Not found"},
		{"/metadata/instance/compute/name?" + latest, nil, 400, "format=text"},
		{"/metadata/instance/compute/name?format=json&" + latest, nil, 400, "format=text"},
		{"/metadata/instance/compute/tags?format=text&" + latest, nil, 200, "Owner:A & B;tier:web"},
		{"/metadata/instance?format=text&" + latest, nil, 200, "compute/\nnetwork/"},
		{"/metadata/instance/compute/osProfile?format=text&" + latest, nil, 200, "adminUsername\ncomputerName\ndisablePasswordAuthentication"},
		{"/metadata/instance/network/interface?format=text&" + latest, nil, 200, "0/\n1/"},
		{"/metadata/instance?format=yaml&" + latest, nil, 400, "json or text"},
		{"/metadata/instance?" + latest + "&" + latest, nil, 400, "twice"},
		{"/metadata/instance?" + latest + "&Api-Version=2021-02-01", nil, 400, "twice"},
		{"/metadata/instance?api-version=%zz", nil, 400, "cannot be read"},
	} {
		w := get(testServer(), 2, c.url, c.headers...)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %v: %d %s\nwant %d %s", c.url, c.headers, w.Code, w.Body, c.code, c.body)
		}
		if c.code >= 400 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: an error that is no JSON: %s", c.url, w.Body)
		}
	}
	for _, method := range []string{"POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT"} {
		r := httptest.NewRequest(method, "/metadata/instance?"+latest, nil)
		r.RemoteAddr = "100.64.0.1:1"
		r.Header.Set("Metadata", "true")
		w := httptest.NewRecorder()
		s := testServer()
		s.known(s.metadata, s.limit).ServeHTTP(w, r)
		if w.Code != 405 || w.Header().Get("Allow") != "GET" {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
}

func TestStrangersHearNothing(t *testing.T) {
	s := testServer()
	for _, from := range []string{"100.64.0.3:1", "10.0.0.4:1", "127.0.0.1:1", "[fd00::1]:1", ""} {
		r := httptest.NewRequest(http.MethodGet, "/metadata/versions", nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if recover() != http.ErrAbortHandler {
					t.Errorf("%q is not cut off", from)
				}
			}()
			s.known(s.metadata, s.limit).ServeHTTP(w, r)
		}()
		if w.Body.Len() > 0 {
			t.Errorf("%q hears %s", from, w.Body)
		}
	}
	if st := s.Status(); st.Strangers != 5 || st.Answered != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestRate(t *testing.T) {
	s := newServer(Options{})
	s.Set(someHost())
	codes, began := map[int]int{}, time.Now()
	for i := range 20 { // both NICs are one VM
		codes[get(s, uint32(1+i%2), "/metadata/versions").Code]++
	}
	if most := DefaultRate * (1 + time.Since(began).Seconds()); codes[200] < DefaultRate || float64(codes[200]) > most || codes[429] != 20-codes[200] {
		t.Errorf("codes %v", codes)
	}
	s.limit = newLimiter(0)
	if w := get(s, 1, "/metadata/versions"); w.Code != 429 || !json.Valid(w.Body.Bytes()) || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.limit = newLimiter(DefaultRate)
	for range 20 {
		s.limit.allow("/subscriptions/0001/vm/web", time.Now().Add(time.Hour))
	}
	if w := get(s, 7, "/metadata/versions"); w.Code != 200 {
		t.Error("one VM's rate is another's")
	}
	l, now := newLimiter(5), time.Unix(1000, 0)
	for range 10 {
		l.allow("vm", now)
	}
	if !l.allow("vm", now.Add(250*time.Millisecond)) || l.allow("vm", now.Add(250*time.Millisecond)) {
		t.Error("a quarter of a second is one request")
	}
	s.Set(&goal.Host{})
	if len(s.limit.buckets) != 0 {
		t.Error("VMs that are gone are remembered")
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/metadata/instance/network/interface/0", "api-version=2021-02-01&format=text", "true")
	f.Add("/metadata/versions", "", "true")
	f.Add("/metadata/instance", "api-version=2021-02-01", "")
	s := testServer()
	f.Fuzz(func(t *testing.T, path, query, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery, r.RemoteAddr = path, query, "100.64.0.1:1"
		r.Header.Set("Metadata", header)
		s.limit = newLimiter(1e6)
		w := httptest.NewRecorder()
		s.known(s.metadata, s.limit).ServeHTTP(w, r)
		switch {
		case w.Code == 200 && !strings.EqualFold(header, "true"):
			t.Fatal("answered without the header")
		case w.Code != 200 && w.Code != 400 && w.Code != 404:
			t.Fatalf("code %d", w.Code)
		case strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") != json.Valid(w.Body.Bytes()) && !strings.Contains(query, "text"):
			t.Fatalf("%s %s: %s", path, query, w.Body)
		case w.Code != 200 && !json.Valid(w.Body.Bytes()):
			t.Fatalf("an error that is no JSON: %s", w.Body)
		case strings.Contains(w.Body.String(), "other"):
			t.Fatal("another VM's data")
		}
	})
}
