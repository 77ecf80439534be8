package arm

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever is asked: an answer that is no accident of ours, an error that is JSON, and nothing changed by what was refused.
func FuzzRequest(f *testing.F) {
	methods := []string{"GET", "PUT", "DELETE", "PATCH", "HEAD", "POST"}
	f.Add(1, "~N/virtualNetworks/w", vnetBody(space))
	f.Add(1, "~N/networkSecurityGroups/nsg/securityRules/b", rule(""))
	f.Add(1, "~N/networkInterfaces/x", nicBody("s", ""))
	f.Add(3, "~N/networkSecurityGroups/nsg", `{"tags":{"a":"b"}}`)
	f.Add(5, "~G/providers/Microsoft.Resources/deployments/d/validate", `{"properties":{"mode":"Incremental","template":{}}}`)
	f.Add(1, "~G/providers/Microsoft.Resources/deployments/d", `{"properties":{"mode":"Incremental","template":{"$schema":"x","contentVersion":"1","resources":[]}}}`)
	f.Add(0, "~G/resources?$filter=resourceType eq 'x'", "")
	f.Add(2, "~N/virtualNetworks/v/subnets/s2", "")
	f.Fuzz(func(t *testing.T, which int, p, body string) {
		p = path(p)
		if strings.ContainsAny(p, " \x7f") || !strings.HasPrefix(p, "/") {
			return
		}
		for _, c := range p {
			if c < ' ' || c > 126 {
				return
			}
		}
		a := newAPI(t)
		a.vnet()
		a.ok(201, "PUT", "~N/networkSecurityGroups/nsg", `{"location":"westus2"}`)
		a.nic("n")
		method := methods[uint(which)%uint(len(methods))]
		before := a.store.rev
		if !strings.Contains(p, "?") {
			p += "?api-version=" + v2025
		}
		r, ok := tryRequest(method, p, names(body))
		if !ok {
			return
		}
		r.Header.Set("Authorization", "Bearer "+token1)
		w := httptest.NewRecorder()
		a.h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s %s %q: %d %s", method, p, body, w.Code, w.Body)
		}
		if w.Code >= 400 && a.store.rev != before {
			t.Fatalf("%s %s %q: refused with %d, and the store changed", method, p, body, w.Code)
		}
		if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s %q: no JSON: %s", method, p, body, w.Body)
		}
	})
}
