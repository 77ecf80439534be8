package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Report is a lab as it is now.
type Report struct {
	*State
	Programs  []ProgramStatus `json:"programs"`
	Connected []string        `json:"connected"` // hosts
	Problem   string          `json:"problem,omitempty"`
}

// ProgramStatus is one of the lab's programs.
type ProgramStatus struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Running bool   `json:"running"`
	Log     string `json:"log"`
}

// Status looks at a lab's programs and asks its server for its hosts.
func Status(ctx context.Context, name string) (*Report, error) {
	s, err := Load(name)
	if err != nil {
		return nil, err
	}
	st := &Report{State: s}
	for _, p := range s.Processes {
		st.Programs = append(st.Programs, ProgramStatus{p.Name, p.PID, p.Running(), p.Log})
		if !p.Running() {
			st.Problem = fmt.Sprintf("%s is not running; its log is %s", p.Name, p.Log)
		}
	}
	client := operator(s.Socket)
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if st.Connected, err = connected(ctx, client); err != nil {
		st.Problem = err.Error()
	}
	return st, nil
}

// operator is an HTTP client of the server's socket.
func operator(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// connected asks the server which hosts are connected.
func connected(ctx context.Context, client *http.Client) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ringfence/ringfence/v1/hosts", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server for its hosts: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("ask the server for its hosts: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the server for its hosts: %s: %s", resp.Status, body)
	}
	var list struct {
		Value []struct {
			Name      string `json:"name"`
			Connected bool   `json:"connected"`
		} `json:"value"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("ask the server for its hosts: %w", err)
	}
	var names []string
	for _, h := range list.Value {
		if h.Connected {
			names = append(names, h.Name)
		}
	}
	return names, nil
}

// disconnected returns the hosts that the server does not list as connected.
func disconnected(ctx context.Context, client *http.Client, s *State) ([]string, error) {
	names, err := connected(ctx, client)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, n := range names {
		have[n] = true
	}
	var missing []string
	for _, h := range s.Hosts {
		if !have[h.Name] {
			missing = append(missing, h.Name)
		}
	}
	return missing, nil
}
