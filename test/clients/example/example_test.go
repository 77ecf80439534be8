package example

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

type nobody struct{}

func (nobody) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "x", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// caught takes requests instead of sending them.
type caught struct{ verb, path, body string }

var errCaught = errors.New("caught")

func (c *caught) Do(r *http.Request) (*http.Response, error) {
	c.verb, c.path, c.body = r.Method, r.URL.Path, ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		c.body = string(b)
	}
	return nil, errCaught
}

// Every example of the module is a request that can be sent, to an operation that is known.
func TestEveryExampleIsARequest(t *testing.T) {
	s, err := Open("github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9")
	if err != nil {
		t.Fatal(err)
	}
	s.Kinds = Kinds
	ops, err := s.Operations()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]Operation{}
	for _, o := range ops {
		known[o.Client+" "+o.Method] = o
	}
	all, err := s.Examples()
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) != 747 || len(all) != 861 {
		t.Errorf("%d operations and %d examples, want 747 and 861", len(ops), len(all))
	}
	var c caught
	factory, err := armnetwork.NewClientFactory("sub", nobody{}, &arm.ClientOptions{DisableRPRegistration: true,
		ClientOptions: policy.ClientOptions{Transport: &c, Retry: policy.RetryOptions{MaxRetries: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		op, ok := known[e.Client+" "+e.Method]
		if !ok {
			t.Errorf("%s: operation %s.%s is not known", e.Name, e.Client, e.Method)
		}
		c = caught{}
		if _, err := e.Send(context.Background(), s, factory, func(s string) string { return s }); !errors.Is(err, errCaught) {
			t.Errorf("%s: %v", e.Name, err)
		}
		if c.verb != op.Verb || strings.Count(c.path, "/") < strings.Count(op.Path, "/") {
			t.Errorf("%s: %s %s, want %s %s", e.Name, c.verb, c.path, op.Verb, op.Path)
		}
		if e.Name == "NetworkSecurityGroupRuleCreate" && !strings.Contains(c.body, `"destinationPortRange":"8080"`) {
			t.Errorf("%s: %s", e.Name, c.body)
		}
	}
}
