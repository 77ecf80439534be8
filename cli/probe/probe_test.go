package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// freePort finds a port that nobody listens on.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// One prober speaks with itself over the loopback: every kind of shot is answered, a closed port refuses, a deaf one is silent.
func TestServe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("raw sockets need root")
	}
	open, closed := freePort(t), freePort(t)
	deaf, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	silent := netip.MustParseAddrPort(deaf.LocalAddr().String()).Port()
	plan := Plan{Who: "a/b", TCP: []uint16{open}, UDP: []uint16{open}, Timeout: 700 * time.Millisecond}
	var want []string
	for _, to := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
		for _, s := range []struct {
			network string
			port    uint16
			answer  string
		}{{"tcp", open, "a/b"}, {"udp", open, "a/b"}, {"icmp", 0, Echo}, {"tcp", closed, Refused}, {"udp", closed, Refused}} {
			n := len(plan.Shots)
			plan.Shots = append(plan.Shots, Shot{ID: n, Network: s.network, To: to, Port: s.port, Nonce: fmt.Sprintf("%016d", n)})
			want = append(want, s.answer)
		}
	}
	plan.Shots = append(plan.Shots, Shot{ID: len(want), Network: "udp", To: netip.MustParseAddr("127.0.0.1"), Port: silent, Nonce: "silent0000000000"})
	want = append(want, "")

	in, toServe := io.Pipe()
	fromServe, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Serve(context.Background(), in, out)
		out.CloseWithError(err)
		done <- err
	}()
	lines := bufio.NewReader(fromServe)
	read := func(v any) {
		t.Helper()
		line, err := lines.ReadBytes('\n')
		if err == nil && v != nil {
			err = json.Unmarshal(line, v)
		}
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	if err := json.NewEncoder(toServe).Encode(plan); err != nil {
		t.Fatal(err)
	}
	read(nil)
	fmt.Fprintln(toServe, "go")
	var results []Result
	read(&results)
	fmt.Fprintln(toServe, "end")
	var seen []string
	read(&seen)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for i, r := range results {
		if r.Answer != want[i] || r.Error != "" || r.ID != i {
			t.Errorf("shot %d %+v: %+v, want %q", i, plan.Shots[i], r, want[i])
		}
		arrived := want[i] == "a/b" || want[i] == Echo
		if slices.Contains(seen, plan.Shots[i].Nonce) != arrived {
			t.Errorf("shot %d %+v: seen %v, want %v", i, plan.Shots[i], !arrived, arrived)
		}
	}
}

// A port that is taken, a plan that is none and a parent that went away end the prober.
func TestServeRefusals(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	for in, want := range map[string]string{
		"":                                      "read the plan",
		"nonsense\n":                            "read the plan",
		fmt.Sprintf(`{"TCP":[%d]}`+"\n", taken): "address already in use",
	} {
		if err := Serve(context.Background(), strings.NewReader(in), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", in, err, want)
		}
	}
}
