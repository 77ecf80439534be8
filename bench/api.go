package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	region     = "westeurope"
	apiVersion = "2025-05-01"
)

// api is a tenant's view of the control plane, with nothing between the clock and the wire.
type api struct {
	client                        http.Client
	endpoint, subscription, token string
}

func newAPI(lab string) (*api, error) {
	endpoint, ca, subscription, token, err := labState(lab)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("authority of lab %s: %w", lab, err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &api{client: http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		endpoint: strings.TrimSuffix(endpoint, "/"), subscription: subscription, token: token}, nil
}

func (a *api) groupPath(group string) string {
	return "/subscriptions/" + a.subscription + "/resourceGroups/" + group
}

// put writes a resource and returns how long it took until the answer or the operation said that it is enforced.
func (a *api) put(ctx context.Context, path string, body any) (time.Duration, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = a.call(ctx, http.MethodPut, path, b)
	return time.Since(start), err
}

func (a *api) delete(ctx context.Context, path string) error {
	return a.call(ctx, http.MethodDelete, path, nil)
}

// call makes one request and follows its operation to the end.
func (a *api) call(ctx context.Context, method, path string, body []byte) error {
	res, answer, err := a.request(ctx, method, a.endpoint+path+"?api-version="+apiVersion, body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	poll := res.Header.Get("Azure-AsyncOperation")
	state := struct {
		Properties struct{ ProvisioningState string }
		Status     string
	}{}
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &state); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	if poll == "" || state.Properties.ProvisioningState == "Succeeded" || method == http.MethodDelete && res.StatusCode != http.StatusAccepted {
		return nil
	}
	return a.follow(ctx, method+" "+path, poll)
}

// follow polls an operation.
func (a *api) follow(ctx context.Context, what, poll string) error {
	for {
		_, answer, err := a.request(ctx, http.MethodGet, poll, nil)
		if err != nil {
			return err
		}
		var op struct{ Status string }
		if err := json.Unmarshal(answer, &op); err != nil {
			return fmt.Errorf("%s: operation: %w: %s", what, err, answer)
		}
		switch op.Status {
		case "Succeeded":
			return nil
		case "InProgress", "Updating", "Creating", "Deleting":
			time.Sleep(5 * time.Millisecond)
		default:
			return fmt.Errorf("%s: operation: %s", what, answer)
		}
	}
}

func (a *api) request(ctx context.Context, method, url string, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res, answer, err
}
