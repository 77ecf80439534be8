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
	hosts, err := hostsOf(ctx, client)
	if err != nil {
		st.Problem = err.Error()
	}
	for _, h := range hosts {
		if h.Connected {
			st.Connected = append(st.Connected, h.Name)
		}
		if h.Problem != "" {
			st.Problem = h.Name + ": " + h.Problem
		}
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

// hostStatus is what the server says about a host.
type hostStatus struct {
	Name       string `json:"name"`
	Connected  bool   `json:"connected"`
	Generation uint64 `json:"generation"` // newest goal published
	Acked      uint64 `json:"acked"`      // newest goal in force
	Problem    string `json:"problem"`
}

// ready says whether the host is connected and has put a goal in force: by then its programs guard every device.
func (h hostStatus) ready() bool { return h.Connected && h.Problem == "" && h.Acked > 0 }

// hostsOf asks the server for its hosts.
func hostsOf(ctx context.Context, client *http.Client) ([]hostStatus, error) {
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
		Value []hostStatus `json:"value"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("ask the server for its hosts: %w", err)
	}
	return list.Value, nil
}

// waiting returns the lab's hosts that are not ready, each with what the server says about it.
func waiting(ctx context.Context, client *http.Client, s *State) ([]hostStatus, error) {
	known, err := hostsOf(ctx, client)
	if err != nil {
		return nil, err
	}
	have := map[string]hostStatus{}
	for _, h := range known {
		have[h.Name] = h
	}
	var missing []hostStatus
	for _, h := range s.Hosts {
		if st := have[h.Name]; !st.ready() {
			st.Name = h.Name
			missing = append(missing, st)
		}
	}
	return missing, nil
}
