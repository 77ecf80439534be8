package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringfence/pki"
)

// cluster is an authority and directories for members on the loopback.
type cluster struct {
	t   *testing.T
	ca  *pki.Authority
	dir string
}

func newCluster(t *testing.T) *cluster {
	ca, err := pki.New("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rfm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	return &cluster{t, ca, dir}
}

func (c *cluster) address() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *cluster) options(name, peer, initial string) Options {
	p := pki.Pair{Cert: filepath.Join(c.dir, name+".pem"), Key: filepath.Join(c.dir, name+".key")}
	if _, err := c.ca.EnsureServer(p, time.Now(), pki.Life, name, nil, []net.IP{net.IPv4(127, 0, 0, 1)}); err != nil {
		c.t.Fatal(err)
	}
	return Options{Name: name, DataDir: filepath.Join(c.dir, name), RunDir: filepath.Join(c.dir, "r"+name), NoSync: true,
		Cluster: &Cluster{Peer: peer, CA: pki.CertFile(c.dir), Cert: p.Cert, Key: p.Key, ServerName: pki.ServerName, Initial: initial}}
}

// add brings a member in.
func (c *cluster) add(by *Store, name string) (*Store, Options) {
	c.t.Helper()
	peer := c.address()
	initial, err := by.Invite(ctx(c.t), name, peer)
	if err != nil {
		c.t.Fatal(err)
	}
	o := c.options(name, peer, initial)
	return start(c.t, o), o
}

// Members join, vote, go, come back and are removed, and every write that was acknowledged is everywhere.
func TestMembersComeAndGo(t *testing.T) {
	c := newCluster(t)
	first := c.options("a", c.address(), "")
	a := start(t, first)
	must(t, a, put(group(t)))
	b, bo := c.add(a, "b")
	d, do := c.add(a, "d")
	members, err := d.Members(ctx(t))
	if err != nil || len(members) != 3 || members[0].Learner || members[1].Learner || members[2].Learner {
		t.Fatalf("members %+v, %v", members, err)
	}
	if _, err := a.Invite(ctx(t), "b", c.address()); err == nil {
		t.Error("a name that is taken was invited")
	}
	rev := must(t, b, put(nsg(t, "by-b")))
	for _, s := range []*Store{a, b, d} {
		if snap, err := s.Wait(ctx(t), rev.Revision()); err != nil || snap.Get(nsg(t, "by-b").Key()) == nil {
			t.Errorf("not everywhere: %v", err)
		}
	}
	// One goes: the others go on.
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	rev = must(t, b, put(nsg(t, "without-a")))
	t.Logf("a write after the end of one of three took %v", time.Since(began))
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("a write took %v", took)
	}
	// It comes back and has what it missed.
	a = start(t, first)
	if snap, err := a.Wait(ctx(t), rev.Revision()); err != nil || snap.Get(nsg(t, "without-a").Key()) == nil {
		t.Errorf("missed: %v", err)
	}
	// Another is removed: it ends by itself, its name is free, and what it had does not join by itself.
	if err := a.RemoveMember(ctx(t), "d"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.Ended():
	case <-ctx(t).Done():
		t.Error("a removed member goes on")
	}
	d.Close()
	if err := a.RemoveMember(ctx(t), "d"); !errors.Is(err, ErrNoMember) {
		t.Errorf("removed twice: %v", err)
	}
	os.RemoveAll(do.DataDir)
	d, _ = c.add(a, "d")
	if snap := d.Snapshot(); snap.Get(nsg(t, "without-a").Key()) == nil {
		t.Error("the new member has not what the others have")
	}
	// Without most of them nothing is written, and it is said; what was acknowledged stays.
	d.Close()
	b.Close()
	short, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	if _, err := a.Commit(short, put(nsg(t, "alone"))); err == nil {
		t.Error("one of three took a write alone")
	}
	b = start(t, bo)
	for i := range 20 {
		must(t, b, put(nsg(t, fmt.Sprint("again", i))))
	}
}

// A host's certificate is of the same authority and opens no store.
func TestHostIsNoMember(t *testing.T) {
	c := newCluster(t)
	a := start(t, c.options("a", c.address(), ""))
	peer := c.address()
	initial, err := a.Invite(ctx(t), "b", peer)
	if err != nil {
		t.Fatal(err)
	}
	o := c.options("b", peer, initial)
	if _, err := c.ca.EnsureHost(pki.Pair{Cert: o.Cluster.Cert, Key: o.Cluster.Key}, time.Now(), pki.Life, pki.ServerName); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	if s, err := Open(short, o); err == nil {
		s.Close()
		t.Fatal("a host became a member")
	}
}

func TestTokenIsSpentOnce(t *testing.T) {
	s := start(t, Options{NoSync: true})
	now := time.Now()
	if err := s.PutToken(ctx(t), Token{ID: "x", Kind: "host", Name: "h1", Hash: "hash", Expires: now.Add(time.Hour)}, now); err != nil {
		t.Fatal(err)
	}
	tok, ok, err := s.GetToken(ctx(t), "x")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	won := make(chan error, 8)
	for range 8 {
		go func() { won <- s.UseToken(context.Background(), tok, now, &Enrolled{Key: "k"}) }()
	}
	n := 0
	for range 8 {
		if <-won == nil {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 8 spent it", n)
	}
	if e, ok, err := s.Enrolled(ctx(t), "h1"); err != nil || !ok || e.Key != "k" {
		t.Errorf("enrolled %+v %v %v", e, ok, err)
	}
	if tok, _, _ := s.GetToken(ctx(t), "x"); tok.Used.IsZero() {
		t.Error("not marked")
	}
	// long afterwards it is forgotten with the next one that is made
	if err := s.PutToken(ctx(t), Token{ID: "y", Expires: now}, now.Add(2*forget)); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := s.GetToken(ctx(t), "x"); ok {
		t.Error("kept for ever")
	}
}
