package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ringfence/intent/identity"
)

// What the operator does to service principals is on record, and without a record nothing is done.
func TestPrincipalsAreOnRecord(t *testing.T) {
	p := newPlane(t)
	var err error
	if p.Server.audit, err = identity.OpenAudit(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	routes := p.Operator()
	ask := func(method, path, body string) (int, Principal) {
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, httptest.NewRequest(method, "/ringfence/v1/principals"+path, strings.NewReader(body)))
		var made Principal
		_ = json.Unmarshal(w.Body.Bytes(), &made)
		return w.Code, made
	}
	status, made := ask("POST", "", `{"tenant":"contoso","name":"ci"}`)
	if status != http.StatusCreated || made.Password == "" || len(made.Secrets) != 1 {
		t.Fatalf("%d %+v", status, made)
	}
	if status, _ := ask("POST", "", `{"tenant":"contoso","name":"CI"}`); status != http.StatusConflict {
		t.Errorf("the same name again: %d", status)
	}
	if status, again := ask("POST", "/"+made.App+"/secret?append=true", ""); status != http.StatusOK || len(again.Secrets) != 2 || again.Password == made.Password {
		t.Errorf("a second secret: %d %+v", status, again)
	}
	if status, _ := ask("DELETE", "/"+made.App, ""); status != http.StatusOK {
		t.Errorf("delete: %d", status)
	}
	all, err := p.Server.audit.Read(began, 10, func(identity.Entry) bool { return true })
	if err != nil || len(all) != 3 || all[0].Operation != "ringfence/principals/delete" || all[2].Status != http.StatusCreated {
		t.Errorf("on record: %+v, %v", all, err)
	}
	if err := p.Server.audit.Close(); err != nil {
		t.Fatal(err)
	}
	ask("POST", "", `{"tenant":"contoso","name":"one"}`) // finds out
	if status, _ := ask("POST", "", `{"tenant":"contoso","name":"two"}`); status != http.StatusServiceUnavailable {
		t.Errorf("without a record: %d", status)
	}
	if _, ok := find(p.Server.identity.ServicePrincipals(""), "two"); ok {
		t.Error("it was made without a record")
	}
}

func find(all []identity.ServicePrincipal, name string) (identity.ServicePrincipal, bool) {
	for _, p := range all {
		if p.Name == name {
			return p, true
		}
	}
	return identity.ServicePrincipal{}, false
}
