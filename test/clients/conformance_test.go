package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"ringfence/test/clients/example"
)

const networkModule = "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

// outcome is what became of one example.
type outcome struct {
	example.Example
	result string // works, refused, missing
	why    string
}

// Every example that the SDK's network module documents is sent as it is, by the SDK, over TLS, as a service principal. What has a type here must
// be answered as documented, in a form that the SDK decodes without a remainder, or be refused by the name of what is not supported; what
// has none must be refused by its name. docs/arm-conformance.md says which is which, operation by operation; RINGFENCE_WRITE=1 writes it.
func TestConformance(t *testing.T) {
	s, err := example.Open(networkModule)
	if err != nil {
		t.Fatal(err)
	}
	s.Kinds = example.Kinds
	ops, err := s.Operations()
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Examples()
	if err != nil {
		t.Fatal(err)
	}
	c := newConformance(t, s)
	var done []outcome
	for _, e := range all {
		done = append(done, c.try(t, e))
	}
	page := conformancePage(ops, done)
	const at = "../../docs/arm-conformance.md"
	if os.Getenv("RINGFENCE_WRITE") != "" && !t.Failed() {
		if err := os.WriteFile(at, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if was, err := os.ReadFile(at); err != nil || string(was) != page {
		t.Errorf("%s is not what the examples say (%v); RINGFENCE_WRITE=1 writes it", at, err)
	}
}

// wire lets requests through, or only writes them down.
type wire struct {
	under  *http.Client
	catch  bool
	verb   string
	path   string
	sent   []byte
	body   []byte // of the last answer that has one
	status int
}

var errCaught = errors.New("caught")

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	if w.catch {
		w.verb, w.path, w.sent = r.Method, r.URL.Path, nil
		if r.Body != nil {
			w.sent, _ = io.ReadAll(r.Body)
		}
		return nil, errCaught
	}
	resp, err := w.under.Do(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(b))
	w.status = resp.StatusCode
	if len(b) > 0 && !strings.Contains(r.URL.Path, "/operations/") {
		w.body = b
	}
	return resp, err
}

// conformance sends examples as the first tenant.
type conformance struct {
	*azure
	s       *example.Source
	wire    *wire
	factory *armnetwork.ClientFactory
	http    func(verb, id string, body any) (int, string)

	made            []string // resource groups
	number, subnets int      // that no two things made need the same of
}

func newConformance(t *testing.T, s *example.Source) *conformance {
	t.Helper()
	of := lab.Tenants[0]
	o := options(t)
	w := &wire{under: o.Transport.(*http.Client)}
	o.Transport = w
	factory, err := armnetwork.NewClientFactory(of.Subscription, static(of.Token), o)
	if err != nil {
		t.Fatal(err)
	}
	c := &conformance{azure: contoso(t), s: s, wire: w, factory: factory}
	c.http = func(verb, id string, body any) (int, string) { return plainly(t, w.under, of.Token, verb, id, body) }
	t.Cleanup(func() { c.clear(t) })
	return c
}

// plainly makes a request without the SDK.
func plainly(t *testing.T, under *http.Client, token, verb, id string, body any) (int, string) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(verb, lab.Endpoint+id+"?api-version=2025-05-01", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := under.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// text puts the tenant's subscription and location where an example names some of its own.
func (c *conformance) text(s string) string {
	if rest, ok := strings.CutPrefix(s, "/subscriptions/"); ok {
		_, after, _ := strings.Cut(rest, "/")
		return "/subscriptions/" + c.sub + "/" + after
	}
	switch strings.ToLower(strings.ReplaceAll(s, " ", "")) {
	case "westus", "eastus", "eastus2", "centraluseuap", "eastus2euap", "westcentralus":
		return location
	}
	return s
}

// send makes the request of an example; catch: only writes it down.
func (c *conformance) send(e example.Example, catch bool) (any, error) {
	c.wire.catch, c.wire.body = catch, nil
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return e.Send(ctx, c.s, c.factory, c.text)
}

// try makes what an example takes for granted, sends it and judges the answer.
func (c *conformance) try(t *testing.T, e example.Example) outcome {
	t.Helper()
	if _, err := c.send(e, true); !errors.Is(err, errCaught) {
		t.Fatalf("%s: %v", e.Name, err)
	}
	_, err := c.send(e, false)
	if o, ok := missing(e, err); ok {
		return o
	}
	c.prepare(t)
	answer, err := c.send(e, false)
	var refusal *azcore.ResponseError
	switch {
	case err == nil:
		if rest := remainder(c.wire.body, answer); rest != "" {
			t.Errorf("%s: the answer has what the SDK does not know: %s\n%s", e.Name, rest, c.wire.body)
		}
		return outcome{Example: e, result: "works"}
	case !errors.As(err, &refusal):
		t.Errorf("%s: %v\n%s", e.Name, err, c.wire.body)
	case refusal.ErrorCode == "RingfenceNotSupported":
		return outcome{e, "refused", reason(c.wire.body)}
	default:
		t.Errorf("%s: %s %s\n%s\n%d %s", e.Name, c.wire.verb, c.wire.path, c.wire.sent, refusal.StatusCode, c.wire.body)
	}
	return outcome{e, "fails", ""}
}

// missing tells whether an answer says that there is no such operation here, by name.
func missing(e example.Example, err error) (outcome, bool) {
	var refusal *azcore.ResponseError
	if !errors.As(err, &refusal) || refusal.ErrorCode != "RingfenceNotSupported" || !strings.Contains(refusal.Error(), "exists on Azure and is not supported here") {
		return outcome{}, false
	}
	return outcome{Example: e, result: "missing"}, true
}

// reason is what an error answer blames.
func reason(body []byte) string {
	var a struct {
		Error struct{ Target string }
	}
	if json.Unmarshal(body, &a) != nil {
		return "an answer that is no error"
	}
	return "`" + a.Error.Target + "`"
}

// remainder is the first member of an answer's text that is lost when the SDK has decoded it.
func remainder(body []byte, answer any) string {
	if len(body) == 0 || string(body) == "null" {
		return ""
	}
	known, err := json.Marshal(answer)
	if err != nil {
		return err.Error()
	}
	var sent, kept any
	if json.Unmarshal(body, &sent) != nil || json.Unmarshal(known, &kept) != nil {
		return "no JSON"
	}
	return lost("", sent, kept)
}

func lost(path string, sent, kept any) string {
	switch sent := sent.(type) {
	case map[string]any:
		k, _ := kept.(map[string]any)
		for name, v := range sent {
			if other, ok := k[name]; !ok {
				return path + "." + name
			} else if deeper := lost(path+"."+name, v, other); deeper != "" {
				return deeper
			}
		}
	case []any:
		k, _ := kept.([]any)
		if len(k) != len(sent) {
			return path
		}
		for i := range sent {
			if deeper := lost(fmt.Sprintf("%s[%d]", path, i), sent[i], k[i]); deeper != "" {
				return deeper
			}
		}
	}
	return ""
}
