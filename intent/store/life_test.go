package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What was committed is there after a restart, and the generation does not go back, though the last change was a deletion.
func TestRestart(t *testing.T) {
	dir, err := os.MkdirTemp("", "rfs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	opt := Options{DataDir: filepath.Join(dir, "d"), RunDir: filepath.Join(dir, "r")}
	last := uint64(0)
	for round := range 3 {
		s := start(t, opt)
		snap := s.Snapshot()
		if snap.Revision() < last {
			t.Fatalf("revision %d after %d", snap.Revision(), last)
		}
		if round > 0 && (snap.Len() != 2 || snap.Get(nsg(t, "kept").Key()) == nil || len(snap.Hosts()) != 1 || snap.Acks()["h1"] != uint64(round)) {
			t.Fatalf("round %d: %d documents, hosts %v, acks %v", round, snap.Len(), snap.Hosts(), snap.Acks())
		}
		if holder, _ := snap.Holder("vni/1"); round > 0 && holder != nsg(t, "kept").Key() {
			t.Errorf("claim held by %q", holder)
		}
		if err := s.PutHost(ctx(t), Host{Name: "h1", Underlay: netip.MustParseAddr("198.18.0.10")}); err != nil {
			t.Fatal(err)
		}
		if err := s.PutAck(ctx(t), "h1", uint64(round+1), ""); err != nil {
			t.Fatal(err)
		}
		must(t, s, put(nsg(t, "kept"), group(t), nsg(t, "gone")).claiming("vni/1"))
		last = must(t, s, &Write{Delete: []string{nsg(t, "gone").Key()}}).Revision()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A snapshot stays as it was, whatever happens after it; a tentative one changes nothing.
func TestSnapshotIsImmutable(t *testing.T) {
	s := start(t, Options{})
	old := must(t, s, put(group(t), nsg(t, "n"), vnet(t, "v", "web=n")).claiming("vni/1"))
	describe := func(snap *Snapshot) string {
		var b bytes.Buffer
		for d := range snap.Docs() {
			fmt.Fprintln(&b, d.Key(), d.Revision, string(d.Body), snap.Referrers(d.Key()))
		}
		owner, held := snap.Owner("vni/1")
		fmt.Fprintln(&b, snap.Revision(), snap.Hosts(), snap.Acks(), owner, held)
		return b.String()
	}
	before := describe(old)
	next := old.With(&Write{Put: append(put(nsg(t, "m")).claiming("vni/2").Put, put(vnet(t, "v", "web=m")).Put...), Delete: []string{nsg(t, "n").Key()}})
	if next.Get(nsg(t, "n").Key()) != nil || len(next.Referrers(nsg(t, "m").Key())) != 1 || next.Revision() != old.Revision() {
		t.Error("the tentative snapshot is not as the write would make it")
	}
	if n, _ := next.LowestFree("vni/", 1, 9); n != 1 {
		t.Errorf("lowest free is %d", n) // "vni/1" is no numbered key
	}
	if s.Snapshot() != old || describe(old) != before {
		t.Error("the tentative snapshot changed the real one")
	}
	must(t, s, put(vnet(t, "v", "web")))
	must(t, s, &Write{Delete: []string{nsg(t, "n").Key()}})
	if err := s.PutHost(ctx(t), Host{Name: "h"}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutAck(ctx(t), "h", 3, ""); err != nil {
		t.Fatal(err)
	}
	must(t, s, put(nsg(t, "x")))
	if got := describe(old); got != before {
		t.Errorf("the snapshot changed:\n%s\nwas\n%s", got, before)
	}
}

// One transaction hands a claim from one document to another, whichever of them its events name first.
func TestClaimsChangeHands(t *testing.T) {
	s := start(t, Options{})
	must(t, s, put(group(t), nsg(t, "b")).claiming("unused"))
	for _, pair := range [][2]string{{"b", "a"}, {"a", "c"}, {"c", "b"}} {
		from, to := nsg(t, pair[0]), nsg(t, pair[1])
		must(t, s, &Write{Put: []Put{{Doc: from, Claims: []Claim{{"vni/7", from.ID.String()}}}}})
		snap := must(t, s, &Write{Put: []Put{{Doc: from}, {Doc: to, Claims: []Claim{{"vni/7", to.ID.String()}}}}})
		if holder, _ := snap.Holder("vni/7"); holder != to.Key() {
			t.Errorf("from %s to %s: held by %q", from.Key(), to.Key(), holder)
		}
		if snap = must(t, s, &Write{Put: []Put{{Doc: from, Claims: []Claim{{"vni/8", ""}}}}, Delete: []string{to.Key()}}); snap.Len() != 3-1 {
			t.Errorf("%d documents", snap.Len())
		}
		if _, held := snap.Holder("vni/7"); held {
			t.Error("a claim outlives its document")
		}
		must(t, s, &Write{Put: []Put{{Doc: from}, {Doc: to}}})
		consistent(t, s)
		must(t, s, &Write{Delete: []string{from.Key()}})
	}
}

// A group with thousands of documents goes in one transaction, and leaves nothing behind but what others hold.
func TestLargeGroup(t *testing.T) {
	s := start(t, Options{NoSync: true})
	must(t, s, put(group(t), nsg(t, "n"), vnet(t, "v", "web=n")))
	other := strings.Replace(rg, "Rg", "other", 1)
	outside := doc(t, other+"/providers/Microsoft.Network/networkSecurityGroups/o", `{"location":"westus"}`)
	must(t, s, put(doc(t, other, `{"location":"westus"}`), outside, vnet(t, "w", "web")).claiming("kept"))
	var all []string
	for batch := range 3 {
		w := &Write{}
		for i := range 1200 {
			name := fmt.Sprintf("nic-%0*d", 60, batch*1200+i) // long names: some of each would not fit
			w.Put = append(w.Put, Put{Doc: nic(t, name, "v/web"), Claims: []Claim{{Numbered("port/", uint64(batch*1200+i)), name}}})
		}
		must(t, s, w)
	}
	leaving := doc(t, rg+"/providers/Microsoft.Network/virtualNetworks/x",
		`{"location":"westus","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"`+outside.ID.String()+`"}}}]}}`)
	base := must(t, s, put(leaving))
	for d := range base.Inside(rg) {
		all = append(all, d.Key())
	}
	// Somebody adds to the group meanwhile: it must not be half deleted, nor the new one be left alone.
	must(t, s, put(nsg(t, "late")))
	_, err := s.Commit(ctx(t), &Write{Base: base, Delete: append([]string{group(t).Key()}, all...)})
	var conflict *Conflict
	var use *InUse
	if !errors.As(err, &conflict) && !errors.As(err, &use) {
		t.Fatalf("a group that has got another document: %v", err)
	}
	snap := must(t, s, &Write{Delete: append([]string{group(t).Key(), nsg(t, "late").Key()}, all...)})
	if snap.Len() != 2 || len(snap.Referrers(outside.Key())) != 0 {
		t.Errorf("%d documents left, %v refer to what is outside", snap.Len(), snap.Referrers(outside.Key()))
	}
	consistent(t, s)
}

// A watch that comes too late for the history loads everything anew, keeping the documents it has.
func TestWatchAfterCompaction(t *testing.T) {
	a := start(t, Options{})
	must(t, a, put(group(t), nsg(t, "same"), nsg(t, "gone"), nsg(t, "changed")))
	gate := make(chan struct{})
	var once sync.Once
	b, err := open(ctx(t), Options{Endpoints: a.Endpoints(), Log: slog.New(slog.DiscardHandler)}, func() {
		once.Do(func() { <-gate })
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	old := b.Snapshot()
	same := old.Get(nsg(t, "same").Key())
	must(t, a, &Write{Delete: []string{nsg(t, "gone").Key()}})
	for range 20 {
		must(t, a, put(nsg(t, "changed")))
	}
	newest := must(t, a, put(nsg(t, "new")))
	if err := a.compact(ctx(t), int64(newest.Revision())); err != nil {
		t.Fatal(err)
	}
	close(gate)
	snap, err := b.Wait(ctx(t), newest.Revision())
	if err != nil {
		t.Fatal(err)
	}
	if snap.Get(nsg(t, "gone").Key()) != nil || snap.Get(nsg(t, "new").Key()) == nil || snap.Len() != 4 {
		t.Errorf("%d documents after the resync", snap.Len())
	}
	if snap.Get(nsg(t, "same").Key()) != same {
		t.Error("an unchanged document was decoded anew")
	}
	// And the watch goes on.
	if _, err := b.Wait(ctx(t), must(t, a, put(nsg(t, "newer"))).Revision()); err != nil {
		t.Fatal(err)
	}
}

// A slow reader gets the newest snapshot, not each one; acknowledgements do not wake it.
func TestWatchCoalesces(t *testing.T) {
	s := start(t, Options{})
	c, stop := context.WithCancel(ctx(t))
	ch := s.Watch(c)
	if first := <-ch; first.Revision() != 0 {
		t.Fatalf("first snapshot of revision %d", first.Revision())
	}
	must(t, s, put(group(t)))
	var newest *Snapshot
	for i := range 20 {
		newest = must(t, s, put(nsg(t, fmt.Sprint("n", i))))
	}
	got := <-ch
	for got.Revision() < newest.Revision() {
		got = <-ch
	}
	if err := s.PutAck(ctx(t), "h", 1, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.PutHost(ctx(t), Host{Name: "h"}); err != nil { // facts: a new revision
		t.Fatal(err)
	}
	withHost := <-ch
	if withHost.Revision() <= got.Revision() || len(withHost.Hosts()) != 1 {
		t.Errorf("revision %d, hosts %v", withHost.Revision(), withHost.Hosts())
	}
	if err := s.PutHost(ctx(t), Host{Name: "h", Seen: time.Now(), Connected: true}); err != nil { // seen again: none
		t.Fatal(err)
	}
	select {
	case snap := <-ch:
		t.Errorf("woken for revision %d", snap.Revision())
	case <-time.After(50 * time.Millisecond):
	}
	if h := s.Snapshot().Hosts()[0]; !h.Connected || s.Snapshot().Revision() != withHost.Revision() {
		t.Errorf("%+v at revision %d", h, s.Snapshot().Revision())
	}
	stop()
	if _, open := <-ch; open {
		t.Error("the channel is not closed")
	}
}

func TestAcks(t *testing.T) {
	a := start(t, Options{})
	b := second(t, a)
	short, stop := context.WithTimeout(ctx(t), 30*time.Millisecond)
	defer stop()
	if err := b.WaitAcks(short, map[string]uint64{"h1": 5}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nobody has acknowledged: %v", err)
	}
	if err := b.WaitAcks(short, nil); err != nil {
		t.Fatalf("nothing to wait for: %v", err)
	}
	done := make(chan error)
	for _, s := range []*Store{a, b} {
		go func() { done <- s.WaitAcks(ctx(t), map[string]uint64{"h1": 5, "h2": 4}) }()
	}
	for _, ack := range []struct {
		host string
		gen  uint64
	}{{"h1", 4}, {"h2", 9}, {"h1", 5}} {
		if err := a.PutAck(ctx(t), ack.host, ack.gen, ""); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := a.PutAck(ctx(t), "h1", 6, "no such device"); err != nil {
		t.Fatal(err)
	}
	var not *NotEnforced
	if err := b.WaitAcks(ctx(t), map[string]uint64{"h1": 6}); !errors.As(err, &not) || not.Host != "h1" {
		t.Errorf("a host that could not: %v", err)
	}
	if err := a.DeleteHost(ctx(t), "h1"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, known := b.Snapshot().Ack("h1"); !known {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the acknowledgement outlives its host")
}

// Etcd is reached through two socket files in a directory that only their owner can enter, and through nothing else.
func TestSockets(t *testing.T) {
	s := start(t, Options{})
	dir, err := os.Stat(s.opt.RunDir)
	if err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("run directory: %v, %v", dir, err)
	}
	var names []string
	entries, err := os.ReadDir(s.opt.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if strings.Join(names, " ") != "etcd-peer.sock etcd.sock" {
		t.Errorf("sockets: %v", names)
	}
	listening := map[string]bool{}
	inodes, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range inodes {
		if to, err := os.Readlink(fd); err == nil {
			listening[strings.Trim(strings.TrimPrefix(to, "socket:"), "[]")] = true
		}
	}
	for file, listens := range map[string]string{"unix": "00010000", "tcp": "0A", "tcp6": "0A"} {
		text, err := os.ReadFile("/proc/self/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			inode, path := 6, 7
			if file != "unix" {
				inode = 9
			}
			if len(f) <= inode || !listening[f[inode]] || !strings.Contains(line, " "+listens+" ") {
				continue
			}
			if file != "unix" || len(f) <= path || !strings.HasPrefix(f[path], s.opt.RunDir+"/") {
				t.Errorf("it listens elsewhere: %s", line)
			}
		}
	}
}
