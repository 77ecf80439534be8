package server

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/intent/resource"
	"ringfence/intent/store"
	"ringfence/observe"
	"ringfence/publish"
)

// wire lies between a server and its etcd: what etcd says can be late or not come at all.
type wire struct {
	endpoint string
	late     atomic.Int64 // nanoseconds
	cut      atomic.Bool  // no connections, old or new

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	dir, err := os.MkdirTemp("", "rfw") // short: it holds a unix socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "w"))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{endpoint: "unix://" + filepath.Join(dir, "w"), conns: map[net.Conn]bool{}}
	var work sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		w.sever()
		work.Wait()
		os.RemoveAll(dir)
	})
	work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", strings.TrimPrefix(to, "unix://"))
			if err != nil || w.cut.Load() {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.conns[near], w.conns[far] = true, true
			w.mu.Unlock()
			work.Go(func() { io.Copy(far, near); far.Close(); near.Close() })
			work.Go(func() { w.carry(near, far) })
		}
	})
	return w
}

// carry brings what etcd says, late by as much as is asked, in its order and without bounding how much is under way.
func (w *wire) carry(near, far net.Conn) {
	type piece struct {
		data []byte
		due  time.Time
	}
	queue := make(chan piece, 4096)
	go func() {
		defer close(queue)
		for buf := make([]byte, 64<<10); ; {
			n, err := far.Read(buf)
			if n > 0 {
				queue <- piece{append([]byte(nil), buf[:n]...), time.Now().Add(time.Duration(w.late.Load()))}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range queue {
		time.Sleep(time.Until(p.due))
		near.Write(p.data)
	}
	near.Close()
}

func (w *wire) sever() {
	w.cut.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

// behind makes another server on the same etcd, with a wire between.
func (p *plane) behind() (*plane, *wire) {
	p.t.Helper()
	w := newWire(p.t, p.store.Endpoints()[0])
	return newPlaneOn(p.t, store.Options{Endpoints: []string{w.endpoint}}), w
}

// Whoever deletes what another server has just begun to use hears Azure's own word for that, though the own snapshot does not know of it yet.
func TestUseThatAnotherServerBegan(t *testing.T) {
	a := newPlane(t)
	a.twoHosts()
	a.network()
	b, w := a.behind()
	eventually(t, "the other server has all", func() bool { return b.store.Snapshot().Revision() == a.store.Snapshot().Revision() })
	w.late.Store(int64(400 * time.Millisecond))
	a.must(network+"networkSecurityGroups/late", nsg(300))
	eventually(t, "the other server has it", func() bool {
		return b.store.Snapshot().Get(strings.ToLower(network+"networkSecurityGroups/late")) != nil
	})
	use := strings.Replace(nic("b"), `"properties":{`, `"properties":{"networkSecurityGroup":{"id":"`+network+`networkSecurityGroups/late"},`, 1)
	a.must(network+"networkInterfaces/u", use)
	if b.store.Snapshot().Get(strings.ToLower(network+"networkInterfaces/u")) != nil {
		t.Fatal("the other server knows already: nothing is tested")
	}
	r := b.do(http.MethodDelete, network+"networkSecurityGroups/late", "")
	if r.status != 400 || r.code() != "InUseNetworkSecurityGroupCannotBeDeleted" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Two agents with one certificate at two servers: the one that is connected stays, whoever calls the other server is refused with a sentence
// that the operator sees, and is let in when the first one has gone.
func TestSecondAgentAtAnotherServer(t *testing.T) {
	a := newPlane(t)
	b := a.beside()
	a.host("host1", "198.18.0.11").obey()
	eventually(t, "connected at the first server", func() bool {
		hosts := b.store.Snapshot().Hosts()
		return len(hosts) == 1 && hosts[0].Connected && hosts[0].Server == a.healer.id && hosts[0].Process != ""
	})
	known := b.store.Snapshot().Hosts()[0]
	twin := publish.Hello{Host: "host1", Process: "another", From: "192.0.2.1:1", Underlay: known.Underlay}
	// A sighting from before this server looked says nothing about now.
	if b.elsewhereAlive(known, twin) {
		t.Error("one sighting of unknown age is taken for life")
	}
	b.healer.update("host1", func(s *sign) { s.newer, s.since = true, time.Now() })
	if err := b.hello(twin); err == nil || !strings.Contains(err.Error(), "second agent") || !strings.Contains(err.Error(), "192.0.2.1:1") {
		t.Errorf("the twin hears %v", err)
	}
	same := twin
	same.Process = known.Process
	if b.elsewhereAlive(known, same) {
		t.Error("the process that is connected cannot come over")
	}
	b.healer.update("host1", func(s *sign) { s.since = time.Now().Add(-forgotten) })
	if b.elsewhereAlive(known, twin) {
		t.Error("a host that nobody has seen for long keeps its successor out")
	}
	b.healer.update("host1", func(s *sign) { s.since = time.Now() })
	gone := known
	gone.Connected = false
	if b.elsewhereAlive(gone, twin) {
		t.Error("a host that has gone keeps its successor out")
	}
}

// Etcd is slow: writes take longer and are made, once each.
func TestSlowStore(t *testing.T) {
	a := newPlane(t)
	b, w := a.behind()
	b.twoHosts()
	b.network()
	w.late.Store(int64(150 * time.Millisecond))
	began := time.Now()
	for i := range 3 {
		b.must(network+"networkSecurityGroups/n", nsg(400+i))
	}
	if took := time.Since(began); took < 450*time.Millisecond {
		t.Errorf("three writes took %v: the store was not slow", took)
	}
	if status, text := b.plain("/readyz", false); status != 200 {
		t.Errorf("slow is not gone: %d %s", status, text)
	}
	slow := false
	for _, f := range b.Server.findings(within(t)) {
		slow = slow || f.Topic == topicStore && strings.HasPrefix(f.What, "a read takes") && f.Cure != ""
	}
	if !slow {
		t.Error("the doctor does not say that the store is slow")
	}
}

// Etcd is gone: a write is refused in words that Azure's clients take for what they are, reading goes on, hosts keep their streams, the
// operator is told; when it is back all goes on by itself, and what was acknowledged is there.
func TestStoreIsGone(t *testing.T) {
	a := newPlane(t)
	b, w := a.behind()
	h1, _ := b.twoHosts()
	b.network()
	before, _ := b.Goal("host1")
	w.sever()
	r := b.do(http.MethodPut, network+"networkSecurityGroups/n", nsg(500))
	if r.status != 503 || r.code() != "ServiceUnavailable" || !strings.Contains(string(r.body), "does not answer") {
		t.Errorf("a write: %d %s", r.status, r.body)
	}
	if r := b.do(http.MethodGet, network+"networkSecurityGroups/n", ""); r.status != 200 || !strings.Contains(string(r.body), `"priority":100`) {
		t.Errorf("a read: %d %s", r.status, r.body)
	}
	if status, text := b.plain("/readyz", false); status != 503 || !strings.Contains(text, "store: it does not answer") {
		t.Errorf("readyz: %d %s", status, text)
	}
	if g, _ := b.Goal("host1"); g != before || !b.publisher.Hosts()[0].Connected || !h1.Connected() {
		t.Error("a host lost its goal or its stream")
	}
	w.cut.Store(false)
	eventually(t, "ready again", func() bool { status, _ := b.plain("/readyz", false); return status == 200 })
	eventually(t, "it takes writes again", func() bool { return b.do(http.MethodPut, network+"networkSecurityGroups/n", nsg(501)).status == 200 })
	eventually(t, "the other server has it", func() bool {
		return strings.Contains(string(a.do(http.MethodGet, network+"networkSecurityGroups/n", "").body), `"priority":501`)
	})
}

// Out of space, by what is live: no room can be made by itself. Documents are refused as what that is, readiness and doctor say so, reading and
// hosts go on; and what is deleted makes room, without a restart.
func TestStoreWithoutSpace(t *testing.T) {
	dir, err := os.MkdirTemp("", "rf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := newPlaneOn(t, store.Options{DataDir: filepath.Join(dir, "d"), RunDir: dir, NoSync: true, Quota: 16 << 20})
	p.twoHosts()
	p.network()
	p.must(group+"full", `{"location":"westeurope"}`)
	for i := 0; err == nil && i < 200; i++ {
		var rev uint64
		if rev, err = p.store.Commit(within(t), &store.Write{Put: []store.Put{{Doc: ballast(t, i)}}}); err == nil {
			_, err = p.store.Wait(within(t), rev)
		}
	}
	if !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("filled: %v", err)
	}
	r := p.do(http.MethodPut, network+"networkSecurityGroups/n", nsg(600))
	if r.status != 503 || r.code() != "ServiceUnavailable" || !strings.Contains(string(r.body), "no space left") {
		t.Errorf("a write: %d %s", r.status, r.body)
	}
	if status, text := p.plain("/readyz", false); status != 503 || !strings.Contains(text, "no space left") {
		t.Errorf("readyz: %d %s", status, text)
	}
	if f := p.findings(t)["server ready"]; f.State != observe.Fail || !strings.Contains(f.What, "no space left") {
		t.Errorf("doctor: %+v", f)
	}
	if r := p.do(http.MethodGet, network+"networkSecurityGroups/n", ""); r.status != 200 || !strings.Contains(string(r.body), `"priority":100`) {
		t.Errorf("a read: %d %s", r.status, r.body)
	}
	if h := p.publisher.Hosts(); !h[0].Connected || !h[1].Connected {
		t.Errorf("hosts: %+v", h)
	}
	if r := p.do(http.MethodDelete, group+"full", ""); r.status != 202 && r.status != 200 {
		t.Errorf("what would make room is refused: %d %s", r.status, r.body)
	}
	eventually(t, "it takes writes again", func() bool { return p.do(http.MethodPut, network+"networkSecurityGroups/n", nsg(601)).status == 200 })
	if status, text := p.plain("/readyz", false); status != 200 {
		t.Errorf("readyz, with room again: %d %s", status, text)
	}
}

// ballast is a document of some 300 KB that hardly compresses.
func ballast(t *testing.T, n int) *resource.Doc {
	t.Helper()
	id, err := resource.ParseID(fmt.Sprintf("%sfull/providers/Microsoft.Network/networkSecurityGroups/b%d", group, n))
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 250<<10)
	rand.Read(noise)
	return resource.NewDoc(id, []byte(`{"location":"westeurope","tags":{"b":"`+base64.StdEncoding.EncodeToString(noise)+`"}}`))
}

// The clock of another server is an hour behind, or ahead: a write still waits for the host that speaks to that one, and a host that nobody
// hears of any more is not waited for.
func TestClocksOfServersDiffer(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		far := store.Host{Name: "far", Underlay: netip.MustParseAddr("198.18.0.19"), Seen: time.Now().Add(off), Connected: true, Server: "another", Process: "x"}
		if err := p.store.PutHost(within(t), far); err != nil {
			t.Fatal(err)
		}
		need := map[string]uint64{"far": 1}
		eventually(t, "a host at another server is waited for", func() bool { return p.elsewhere(need)["far"] == 1 })
		p.healer.update("far", func(s *sign) { s.since = time.Now().Add(-forgotten) })
		if got := p.elsewhere(need); len(got) != 0 {
			t.Errorf("clock off by %v: a host that is silent is waited for: %v", off, got)
		}
		p.heal1(t, "far")
	}
}

// heal1 looks whether a host was called failed.
func (p *plane) heal1(t *testing.T, name string) {
	t.Helper()
	if h := p.hostOf(name); h.State != "ready" {
		t.Errorf("%s is %s", name, h.State)
	}
}

// A process that is started in the place of a killed one, which still dies, gets its data directory; two that live do not share one.
func TestDataDirectoryOfADyingServer(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, unlock)
	again, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again()
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "another server uses it") {
		t.Errorf("a second server: %v", err)
	}
}
