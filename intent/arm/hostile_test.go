package arm

import (
	"fmt"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"ringfence/intent/resource"
)

// What nobody sends who means well: refused with Azure's body, nothing stored, and no more memory than the request is worth.
func TestHostileBodies(t *testing.T) {
	a := populated(t)
	before := a.store.rev
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	nsg := func(inner string) string { return `{"location":"westus2","properties":` + inner + `}` }
	for name, body := range map[string]string{
		"empty": "", "nothing": "null", "list": "[]", "string": `"x"`, "cut": `{"location":"westus2"`, "two": `{"location":"westus2"}{}`, "byte order mark in the middle": "{\"location\"\ufeff:\"westus2\"}",
		"deep lists": nsg(deep("[", "]", 10_000)), "deep objects": nsg(deep(`{"a":`, "}", 10_000)), "deep and open": nsg(strings.Repeat("[", 4<<19)),
		"depth of a list of its own": `{"location":"westus2","properties":{"securityRules":` + deep("[", "]", 10_000) + `}}`,
		"twice":                      `{"location":"westus2","location":"westus2"}`, "twice in other casing": `{"location":"westus2","Location":"westeurope"}`, "twice inside": nsg(`{"securityRules":[],"SECURITYRULES":[]}`),
		"number as location": `{"location":5}`, "list as location": `{"location":["westus2"]}`, "object as tag": `{"location":"westus2","tags":{"a":{}}}`, "list as tags": `{"location":"westus2","tags":[]}`,
		"number as list": nsg(`{"securityRules":5}`), "null in a list": nsg(`{"securityRules":[null]}`), "string as object": nsg(`"x"`), "no location": `{"location":null}`,
		"NUL in a tag": `{"location":"westus2","tags":{"a\u0000":"b"}}`, "half a surrogate": `{"location":"westus2","tags":{"a":"\ud800"}}`, "bad UTF-8": "{\"location\":\"westus2\",\"tags\":{\"a\":\"\xff\"}}",
		"many members": `{"location":"westus2","tags":{` + members(60_000) + `}}`, "many rules": nsg(`{"securityRules":[` + strings.TrimSuffix(strings.Repeat(`{},`, 1_000_000), ",") + `]}`),
		"huge number":    nsg(`{"securityRules":[{"name":"a","properties":{"priority":1` + strings.Repeat("0", 1<<20) + `}}]}`),
		"another's name": `{"location":"westus2","name":"other"}`, "another's type": `{"location":"westus2","type":"Microsoft.Network/virtualNetworks"}`,
	} {
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		r := a.do("PUT", "~N/networkSecurityGroups/hostile", body)
		runtime.ReadMemStats(&m1)
		if r.status != 400 {
			t.Errorf("%s: %d %s", name, r.status, resource.ShortLocation(r.body[:min(len(r.body), 200)]))
			continue
		}
		if code, message, _, _ := r.errorOf(t); code == "" || message == "" {
			t.Errorf("%s: %s", name, r.body)
		}
		if used := m1.TotalAlloc - m0.TotalAlloc; used > 2<<30 {
			t.Errorf("%s: %d bytes of body took %d MiB", name, len(body), used>>20)
		}
		if len(r.body) > 64<<10 {
			t.Errorf("%s: an answer of %d bytes", name, len(r.body))
		}
	}
	if a.store.rev != before {
		t.Error("something was stored")
	}
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `%s"t%d":"v"`, map[bool]string{true: ","}[i > 0], i)
	}
	return b.String()
}

func TestHostilePaths(t *testing.T) {
	a := populated(t)
	before := a.store.rev
	for _, p := range []string{
		"~N/networkSecurityGroups/..%2f..%2fx", "~N/networkSecurityGroups/%00", "~N/networkSecurityGroups/a%2Fb", "~N/networkSecurityGroups/a%5Cb", "~N/networkSecurityGroups/%2e%2e",
		"~N/networkSecurityGroups/a%3Fb", "~N/networkSecurityGroups/a%23b", "~N/networkSecurityGroups/a%25b", "~N/networkSecurityGroups/" + strings.Repeat("a", 5000), "~N/networkSecurityGroups/-a",
		"~N/" + strings.Repeat("networkSecurityGroups/a/", 500) + "x", "~G/providers//", "/subscriptions//", "/" + strings.Repeat("/", 5000), "~N/networkSecurityGroups/%E2%80%AEa",
		"/subscriptions/" + sub2 + "/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/x", "~N/networkSecurityGroups/x/../../y", "/",
	} {
		if r := a.do("PUT", p, `{"location":"westus2"}`); r.status < 400 || r.status >= 500 {
			t.Errorf("%s: %d %s", p[:min(len(p), 120)], r.status, r.body)
		} else if code, _, _, _ := r.errorOf(t); code == "" {
			t.Errorf("%s: %s", p, r.body)
		}
	}
	for _, v := range []string{"", "x", "2014-12-31", "2027-01-01", "2025-02-30", "2025-13-01", "2025-01-01-alpha", "2025-01-01%00", strings.Repeat("2", 9999)} {
		r := httptest.NewRequest("GET", path("~G")+"?api-version="+v, nil)
		r.Header.Set("Authorization", "Bearer "+token1)
		w := httptest.NewRecorder()
		if a.h.ServeHTTP(w, r); w.Code != 400 {
			t.Errorf("api-version %.20s: %d %s", v, w.Code, w.Body)
		}
	}
	if a.store.rev != before {
		t.Error("something was stored")
	}
}

// Writers of one parent's children at once: each child is there afterwards, or its writer was told 409, 412 or 429.
func TestChildrenAndParentAtOnce(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	a.ok(201, "PUT", "~N/networkSecurityGroups/nsg", `{"location":"westus2"}`)
	const n = 16
	var wait sync.WaitGroup
	made := make([]int, n)
	for i := range n {
		wait.Add(2)
		go func() {
			defer wait.Done()
			body := strings.Replace(rule(""), `"priority":200`, fmt.Sprintf(`"priority":%d`, 300+i), 1)
			made[i] = a.do("PUT", fmt.Sprintf("~N/networkSecurityGroups/nsg/securityRules/r%d", i), body).status
		}()
		go func() { // the tags of the parent, meanwhile
			defer wait.Done()
			a.do("PATCH", "~N/networkSecurityGroups/nsg", fmt.Sprintf(`{"tags":{"by":"%d"}}`, i))
		}()
	}
	wait.Wait()
	all := a.ok(200, "GET", "~N/networkSecurityGroups/nsg", "").body
	for i, status := range made {
		there := strings.Contains(all, fmt.Sprintf(`"name":"r%d"`, i))
		switch {
		case status == 201 && !there:
			t.Errorf("r%d was made and is lost", i)
		case status != 201 && (there || status != 409 && status != 412 && status != 429):
			t.Errorf("r%d: answered %d, there: %v", i, status, there)
		}
	}
	// Of writers that name what they saw, one wins.
	etag := fmt.Sprint(field(t, all, "etag"))
	won := make(chan int, n)
	for i := range n {
		go func() {
			won <- a.do("PATCH", "~N/networkSecurityGroups/nsg", fmt.Sprintf(`{"tags":{"winner":"%d"}}`, i), "If-Match", etag).status
		}()
	}
	count := map[int]int{}
	for range n {
		count[<-won]++
	}
	if count[200] != 1 || count[412]+count[409]+count[429] != n-1 {
		t.Errorf("answers %v, want one 200", count)
	}
}

// What a GET answers is a PUT's body: accepted, and nothing changes.
func TestEveryTypesOwnBodyIsAccepted(t *testing.T) {
	a := populated(t)
	a.ok(201, "PUT", "~N/networkWatchers/w", `{"location":"westus2"}`)
	a.ok(201, "PUT", "~C/availabilitySets/as", `{"location":"westus2","sku":{"name":"Aligned"},"properties":{"platformFaultDomainCount":2,"platformUpdateDomainCount":5}}`)
	seen := map[*resource.Type]bool{}
	for pass := range 2 {
		for d := range a.store.snapshot().Inside("/subscriptions/" + sub1) {
			ids := append([]string{d.ID.String()}, childIDs(d)...)
			for _, id := range ids {
				parsed, err := resource.ParseID(id)
				if err != nil {
					t.Fatal(err)
				}
				kind := resource.Find(parsed.Type)
				seen[kind] = true
				got := a.ok(200, "GET", id, "")
				if kind.ReadOnly || d.ID.Type == deploymentType {
					continue
				}
				if r := a.do("PUT", id, got.body); r.status != 200 {
					t.Errorf("%s: PUT of its own GET: %d %s\n%s", id, r.status, r.body, got.body)
				}
				if again := a.ok(200, "GET", id, ""); etagless(again.body) != etagless(got.body) {
					t.Errorf("%s changed:\n%s\n%s", id, got.body, again.body)
				}
			}
		}
		if pass == 0 {
			a.ok(200, "PATCH", "~N/networkSecurityGroups/nsg", `{"tags":{"a":"b"}}`)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d types", len(seen))
	}
}

func childIDs(d *resource.Doc) []string { return d.ChildKeys() }

func etagless(body string) string { return ownEtag.ReplaceAllString(body, "") }

var ownEtag = regexp.MustCompile(`"etag":"[^,}]*"`)
