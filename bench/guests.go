package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// guestFigures are what a machine and those inside it wait for: its address, and names.
type guestFigures struct {
	One  timing  `json:"one"`  // NIC and VM, until it has configured what DHCP told it
	Many timing  `json:"many"` // as many at once
	DNS  []asked `json:"dns"`
}

// asked is how one host's DNS answered machines that asked at a total rate, and what one that asked again and again waited.
type asked struct {
	Machines int     `json:"machines"`
	Offered  float64 `json:"offered_per_second"`
	Answered float64 `json:"answered_per_second"`
	Lost     float64 `json:"lost_share"`
	P50      float64 `json:"p50_ms"` // of a machine that asks when it has its answer
	P99      float64 `json:"p99_ms"`
}

// perMachine is what each machine may ask: below the limit of 1,000 a second.
const perMachine = 900

// guestsOf measures the guests' figures in the lab.
func (f *fabric) guestsOf(ctx context.Context, cfg config) (*guestFigures, error) {
	many := 100
	if cfg.results == "" {
		many = 20
	}
	g := &guestFigures{}
	var one []time.Duration
	for i := range cfg.control {
		d, err := f.atOnce(ctx, fmt.Sprintf("one-%d", i), 1)
		if err != nil {
			return nil, err
		}
		one = append(one, d)
	}
	d, err := f.atOnce(ctx, "many", many)
	if err != nil {
		return nil, err
	}
	g.One = summarise("NIC and VM: PUT to configured by DHCP", one)
	g.Many = summarise(fmt.Sprintf("%d NICs and VMs at once: first PUT to all configured", many), []time.Duration{d})
	spaces, err := f.namespaces(ctx, "host1")
	if err != nil {
		return nil, err
	}
	for _, n := range []int{1, 12, 57} { // 57 ask more than 50,000 times a second
		a, err := askAll(ctx, spaces[:min(n, len(spaces))], 10*cfg.slice)
		if err != nil {
			return nil, err
		}
		g.DNS = append(g.DNS, a)
	}
	return g, nil
}

// atOnce makes machines and waits until each has configured itself; the load's hosts take turns.
func (f *fabric) atOnce(ctx context.Context, prefix string, n int) (time.Duration, error) {
	start, errs := time.Now(), make(chan error, n)
	slots := make(chan struct{}, 16)
	for i := range n {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			name := fmt.Sprintf("%s-%d", prefix, i)
			err := f.machine(ctx, name, "host1", "ringfence-1", "")
			if err == nil {
				err = f.ready(ctx, name)
			}
			errs <- err
		}()
	}
	var faults []error
	for range n {
		faults = append(faults, <-errs)
	}
	return time.Since(start), errors.Join(faults...)
}

// operator asks on the lab's local socket.
func operator(ctx context.Context, path string, out any) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join("/run/ringfence", labName, "api.sock"))
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api/ringfence/v1/"+path, nil)
	if err != nil {
		return err
	}
	w, err := client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %w: %s", path, w.Status, err, b)
	}
	return json.Unmarshal(b, out)
}

// guest is a machine as its host reports it.
type guest struct {
	Host, Netns, HostName string
	Ready                 bool
}

// ready waits until the host reports that the machine has configured itself.
func (f *fabric) ready(ctx context.Context, name string) error {
	var found struct{ Value []guest }
	err := operator(ctx, "sandboxes?wait=30s&id="+url.QueryEscape(f.vmPath(name)), &found)
	if err == nil && (len(found.Value) != 1 || !found.Value[0].Ready) {
		err = fmt.Errorf("%s is not configured after 30 s: %+v", name, found)
	}
	return err
}

// namespaces are the machines of a host.
func (f *fabric) namespaces(ctx context.Context, host string) (list []guest, err error) {
	var all struct{ Value []guest }
	if err := operator(ctx, "sandboxes", &all); err != nil {
		return nil, err
	}
	for _, g := range all.Value {
		if g.Host == host && g.Ready {
			list = append(list, g)
		}
	}
	return list, nil
}

// platform is where machines ask for names.
var platform = netip.MustParseAddrPort("168.63.129.16:53")

// dial opens a socket inside a machine.
func dial(g guest) (conn *net.UDPConn, err error) {
	done := make(chan struct{})
	go func() { // the thread is not fit for anything else afterwards: it ends with the goroutine
		defer close(done)
		runtime.LockOSThread()
		var fd int
		if fd, err = unix.Open(filepath.Join("/run/netns", g.Netns), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(platform))
		}
	}()
	<-done
	if err != nil {
		return nil, fmt.Errorf("socket in %s: %w", g.Netns, err)
	}
	return conn, nil
}

// question asks for the address of a name.
func question(id uint16, name string) []byte {
	b := []byte{byte(id >> 8), byte(id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(name))}
	return append(append(b, name...), 0, 0, 1, 0, 1)
}

// askAll has all machines but the first ask at their rate, and the first again and again.
func askAll(ctx context.Context, machines []guest, took time.Duration) (asked, error) {
	ctx, cancel := context.WithTimeout(ctx, took)
	defer cancel()
	var conns []*net.UDPConn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for _, m := range machines {
		c, err := dial(m)
		if err != nil {
			return asked{}, err
		}
		conns = append(conns, c)
	}
	q := question(1, machines[0].HostName)
	sent, got := make([]int, len(conns)), make([]int, len(conns))
	var all, readers sync.WaitGroup
	for i, c := range conns[1:] {
		all.Go(func() { sent[i+1] = steadily(ctx, c, q) })
		readers.Go(func() { got[i+1] = count(c) })
	}
	began := time.Now()
	waits := again(ctx, conns[0], q)
	all.Wait()
	took = time.Since(began)
	time.Sleep(200 * time.Millisecond) // answers that are under way
	for _, c := range conns[1:] {
		c.SetReadDeadline(time.Unix(1, 0))
	}
	readers.Wait()
	sent[0], got[0] = len(waits), len(waits)
	a := asked{Machines: len(conns)}
	for i := range conns {
		a.Offered += float64(sent[i]) / took.Seconds()
		a.Answered += float64(got[i]) / took.Seconds()
	}
	if len(waits) == 0 || a.Offered == 0 {
		return asked{}, fmt.Errorf("no answer from %s", platform)
	}
	a.Lost = 1 - a.Answered/a.Offered
	slices.Sort(waits)
	a.P50, a.P99 = quantile(waits, 0.5), quantile(waits, 0.99)
	return a, nil
}

// steadily asks in small bursts, as many in all as the rate says.
func steadily(ctx context.Context, c *net.UDPConn, q []byte) (n int) {
	const every = 10 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return n
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * perMachine); n < due; n++ {
			if _, err := c.Write(q); err != nil {
				return n
			}
		}
	}
}

// count reads answers that are answers, until the socket's deadline.
func count(c *net.UDPConn) (n int) {
	b := make([]byte, 512)
	for {
		k, err := c.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return n
		}
		if err == nil && k > 16 && b[3]&15 == 0 && b[7] == 1 {
			n++
		}
	}
}

// again asks when the answer is there, below the limit; it returns each wait in milliseconds.
func again(ctx context.Context, c *net.UDPConn, q []byte) (waits []float64) {
	b := make([]byte, 512)
	for ctx.Err() == nil {
		began := time.Now()
		c.SetReadDeadline(began.Add(time.Second))
		if _, err := c.Write(q); err != nil {
			return waits
		}
		if _, err := c.Read(b); err == nil {
			waits = append(waits, float64(time.Since(began).Microseconds())/1000)
		} else {
			waits = append(waits, 1000) // what was lost was waited for
		}
		time.Sleep(max(0, time.Second/perMachine-time.Since(began)))
	}
	return waits
}

func (g *guestFigures) print(w io.Writer) {
	fmt.Fprintf(w, "\n| guests | median | min | max | n |\n|---|---|---|---|---|\n")
	for _, t := range []timing{g.One, g.Many} {
		fmt.Fprintf(w, "| %s | %.0f ms | %.0f | %.0f | %d |\n", t.What, t.Median, t.Min, t.Max, t.N)
	}
	fmt.Fprintf(w, "\n| DNS of one host: machines that ask | questions/s | answers/s | lost | p50 | p99 |\n|---|---|---|---|---|---|\n")
	for _, a := range g.DNS {
		fmt.Fprintf(w, "| %d | %.0f | %.0f | %.2f %% | %.2f ms | %.2f ms |\n", a.Machines, a.Offered, a.Answered, 100*a.Lost, a.P50, a.P99)
	}
}

// onlyGuests measures the guests' figures alone, in a lab of its own.
func onlyGuests(ctx context.Context, cfg config) error {
	fab, err := newFabric(ctx, cfg)
	if err != nil {
		return err
	}
	defer fab.close()
	g, err := fab.guestsOf(ctx, cfg)
	if err != nil {
		return err
	}
	g.print(os.Stdout)
	return nil
}
