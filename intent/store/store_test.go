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
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"ringfence/intent/resource"
)

const rg = "/subscriptions/11111111-0000-0000-0000-000000000000/resourceGroups/Rg"

// start opens a store in directories of its own: t.TempDir may be too long for a socket.
func start(t testing.TB, opt Options) *Store {
	t.Helper()
	if opt.DataDir == "" {
		dir, err := os.MkdirTemp("", "rfs")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		opt.DataDir, opt.RunDir = filepath.Join(dir, "data"), filepath.Join(dir, "run")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := open(ctx(t), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// second opens another store on the same etcd: another server.
func second(t testing.TB, s *Store) *Store {
	t.Helper()
	other, err := Open(ctx(t), Options{Endpoints: s.Endpoints(), Log: s.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	return other
}

func ctx(t testing.TB) context.Context {
	c, stop := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(stop)
	return c
}

func doc(t testing.TB, id, body string) *resource.Doc {
	t.Helper()
	parsed, err := resource.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return resource.NewDoc(parsed, []byte(body))
}

func group(t testing.TB) *resource.Doc { return doc(t, rg, `{"location":"westus"}`) }

func nsg(t testing.TB, name string) *resource.Doc {
	return doc(t, rg+"/providers/Microsoft.Network/networkSecurityGroups/"+name, `{"location":"westus","properties":{"securityRules":[]}}`)
}

// vnet has subnets with the given names; "name=nsg" gives one an NSG.
func vnet(t testing.TB, name string, subnets ...string) *resource.Doc {
	var list []string
	for i, s := range subnets {
		n, nsg, with := strings.Cut(s, "=")
		extra := ""
		if with {
			extra = fmt.Sprintf(`,"networkSecurityGroup":{"id":"%s/providers/Microsoft.Network/networkSecurityGroups/%s"}`, rg, nsg)
		}
		list = append(list, fmt.Sprintf(`{"name":"%s","properties":{"addressPrefix":"10.0.%d.0/24"%s}}`, n, i, extra))
	}
	return doc(t, rg+"/providers/Microsoft.Network/virtualNetworks/"+name, fmt.Sprintf(
		`{"location":"westus","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[%s]}}`, strings.Join(list, ",")))
}

// nic is in a subnet given as VNET/SUBNET.
func nic(t testing.TB, name, in string) *resource.Doc {
	v, s, _ := strings.Cut(in, "/")
	return doc(t, rg+"/providers/Microsoft.Network/networkInterfaces/"+name, fmt.Sprintf(
		`{"location":"westus","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"%s/providers/Microsoft.Network/virtualNetworks/%s/subnets/%s"}}}]}}`, rg, v, s))
}

func asg(t testing.TB, name string) *resource.Doc {
	return doc(t, rg+"/providers/Microsoft.Network/applicationSecurityGroups/"+name, `{"location":"westus"}`)
}

// member is an interface in a subnet and in ASG a.
func member(t testing.TB, name, in string) *resource.Doc {
	d := nic(t, name, in)
	return resource.NewDoc(d.ID, bytes.Replace(d.Body, []byte(`"subnet"`),
		[]byte(`"applicationSecurityGroups":[{"id":"`+asg(t, "a").ID.String()+`"}],"subnet"`), 1))
}

func put(docs ...*resource.Doc) *Write {
	w := &Write{}
	for _, d := range docs {
		w.Put = append(w.Put, Put{Doc: d})
	}
	return w
}

func (w *Write) claiming(keys ...string) *Write {
	for _, k := range keys {
		w.Put[0].Claims = append(w.Put[0].Claims, Claim{k, w.Put[0].Doc.ID.String()})
	}
	return w
}

func (w *Write) on(s *Snapshot) *Write { w.Base = s; return w }

// must commits and waits until the store's own watch has it.
func must(t testing.TB, s *Store, w *Write) *Snapshot {
	t.Helper()
	c, stop := context.WithTimeout(context.Background(), 60*time.Second)
	defer stop()
	rev, err := s.Commit(c, w)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Wait(c, rev)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func TestCommitAndRead(t *testing.T) {
	lists := map[string][]netip.Prefix{"Storage": {netip.MustParsePrefix("203.0.113.0/24")}}
	s := start(t, Options{PrefixLists: lists})
	if s.Snapshot().Len() != 0 || s.Snapshot().Revision() != 0 {
		t.Fatal("a new store is not empty")
	}
	v := vnet(t, "V1", "Web=N1", "app")
	v.System = resource.System{VNI: 7, Domain: "d"}
	snap := must(t, s, put(group(t), nsg(t, "N1"), v))
	got := snap.Get(v.Key())
	if got == nil || !bytes.Equal(got.Body, v.Body) || got.ID.String() != v.ID.String() || got.System.VNI != 7 {
		t.Fatalf("got %+v", got)
	}
	if got.Revision != int64(snap.Revision()) || got.Type != v.Type {
		t.Errorf("revision %d, snapshot %d", got.Revision, snap.Revision())
	}
	n := nsg(t, "N1").Key()
	if by := snap.Referrers(n); len(by) != 1 || by[0] != v.Key() {
		t.Errorf("referrers of %s: %v", n, by)
	}
	snap = must(t, s, put(nic(t, "nic2", "v1/WEB"), nic(t, "nic1", "V1/web")))
	if by := snap.Referrers(v.Key() + "/subnets/web"); len(by) != 2 || !strings.HasSuffix(by[0], "nic1") {
		t.Errorf("referrers of the subnet: %v", by)
	}
	var names []string
	snap.Each("microsoft.network/networkinterfaces", func(d *resource.Doc) { names = append(names, d.ID.Name()) })
	if strings.Join(names, " ") != "nic1 nic2" {
		t.Errorf("each: %v", names)
	}
	count := 0
	for range snap.Inside(rg) {
		count++
	}
	if count != 4 || snap.Len() != 5 || len(snap.PrefixLists()) != 1 {
		t.Errorf("%d inside the group, %d in all", count, snap.Len())
	}
	if snap.View() == nil || snap.View() != snap.View() || snap.View().Revision != snap.Revision() {
		t.Error("the view is not kept, or of another revision")
	}
}

// What refuses a write, from what the base knows already; the store is as before.
func TestRefusals(t *testing.T) {
	s := start(t, Options{})
	must(t, s, put(group(t), nsg(t, "n"), nsg(t, "n-1"), vnet(t, "v", "web=n")))
	base := must(t, s, put(nic(t, "nic", "v/web")).claiming("ip/4"))
	key := func(d *resource.Doc) string { return d.Key() }
	for name, c := range map[string]struct {
		w    *Write
		want string
	}{
		"referenced":        {&Write{Delete: []string{key(nsg(t, "n"))}}, "in use by " + key(vnet(t, "v"))},
		"child referenced":  {&Write{Delete: []string{key(vnet(t, "v"))}}, "in use by " + key(nic(t, "nic", "v/web"))},
		"group with things": {&Write{Delete: []string{key(group(t))}}, "in use by"},
		"missing target":    {put(vnet(t, "v2", "a=other")), "does not exist"},
		"missing group": {put(doc(t, strings.Replace(rg, "Rg", "none", 1)+"/providers/Microsoft.Network/networkSecurityGroups/n",
			`{}`)), "does not exist"},
		"deleted with referrer": {&Write{Put: put(vnet(t, "v2", "a=n-1")).Put, Delete: []string{key(nsg(t, "n-1"))}}, "does not exist"},
		"claim held":            {put(nic(t, "nic2", "v/web")).claiming("ip/4"), "in use by " + nic(t, "nic", "v/web").ID.String()},
		"claim twice": {&Write{Put: append(put(nic(t, "nic2", "v/web")).claiming("ip/5").Put, put(nic(t, "nic3", "v/web")).claiming("ip/5").Put...)},
			"in use by"},
		"put twice":      {put(nsg(t, "n2"), nsg(t, "n2")), "occurs twice"},
		"put and delete": {&Write{Put: put(nsg(t, "n")).Put, Delete: []string{key(nsg(t, "n"))}}, "occurs twice"},
	} {
		before := s.Snapshot()
		_, err := s.Commit(ctx(t), c.w.on(base))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		dump := etcdKeys(t, s)
		if s.Snapshot() != before {
			t.Errorf("%s: the refused write changed the store", name)
		}
		if dump != etcdKeys(t, s) {
			t.Errorf("%s: etcd changed", name)
		}
	}
	// What the refusals protected can go in the right order, or in one write.
	all := &Write{Delete: []string{key(nsg(t, "n")), key(nsg(t, "n-1")), key(vnet(t, "v")), key(nic(t, "nic", "v/web")), key(group(t))}}
	if snap := must(t, s, all.on(base)); snap.Len() != 0 {
		t.Errorf("%d documents left", snap.Len())
	}
	if left := etcdKeys(t, s); strings.Contains(left, refPrefix) || strings.Contains(left, allocPrefix) || strings.Contains(left, docPrefix) {
		t.Errorf("keys left behind:\n%s", left)
	}
}

// etcdKeys lists all keys but the generation, with their revisions.
func etcdKeys(t testing.TB, s *Store) string {
	t.Helper()
	all, err := s.client.Get(ctx(t), rootPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, kv := range all.Kvs {
		fmt.Fprintf(&b, "%q %d\n", kv.Key, kv.ModRevision)
	}
	return b.String()
}

// What the base does not know yet is found by etcd: both orders of every pair, through two servers.
func TestStaleBase(t *testing.T) {
	a := start(t, Options{})
	b := second(t, a)
	must(t, a, put(group(t), nsg(t, "n"), vnet(t, "v", "web", "app")))
	for name, c := range map[string]struct {
		first, then *Write
		want        any
	}{
		"delete after reference":   {put(vnet(t, "v", "web=n", "app")), &Write{Delete: []string{nsg(t, "n").Key()}}, new(*InUse)},
		"reference after delete":   {&Write{Delete: []string{nsg(t, "n").Key()}}, put(vnet(t, "v", "web=n", "app")), new(*Conflict)},
		"subnet dropped after use": {put(nic(t, "x", "v/web")), put(vnet(t, "v", "app")), new(*Conflict)},
		"subnet used after drop":   {put(vnet(t, "v", "app")), put(nic(t, "x", "v/web")), new(*Conflict)},
		"vnet deleted after use":   {put(nic(t, "x", "v/web")), &Write{Delete: []string{vnet(t, "v").Key()}}, new(*InUse)},
		"vnet used after delete":   {&Write{Delete: []string{vnet(t, "v").Key()}}, put(nic(t, "x", "v/web")), new(*Conflict)},
		"deleted and created anew": {&Write{Delete: []string{nsg(t, "n").Key()}}, put(vnet(t, "v", "web=n", "app")), new(*Conflict)},
		"group deleted after use":  {put(nsg(t, "m")), &Write{Delete: []string{group(t).Key(), nsg(t, "n").Key(), vnet(t, "v").Key()}}, new(*InUse)},
		"same document":            {put(nsg(t, "n")), put(nsg(t, "n")), new(*Conflict)},
		"created twice":            {put(nsg(t, "m")), put(nsg(t, "m")), new(*Conflict)},
		"deleted twice":            {&Write{Delete: []string{nsg(t, "n").Key()}}, &Write{Delete: []string{nsg(t, "n").Key()}}, new(*Conflict)},
		"one claim":                {put(nsg(t, "m1")).claiming("vni/1"), put(nsg(t, "m2")).claiming("vni/1"), new(*Conflict)},
		"guarded":                  {put(nsg(t, "n")), &Write{Put: put(nsg(t, "m")).Put, Guard: []string{nsg(t, "n").Key()}}, new(*Conflict)},
		"guarded absence":          {put(nsg(t, "m")), &Write{Put: put(nsg(t, "l")).Put, Guard: []string{nsg(t, "m").Key()}}, new(*Conflict)},
		"two into one ASG":         {put(member(t, "x", "v/web")), put(member(t, "y", "v/app")), new(*Conflict)},
		"a member moves meanwhile": {put(member(t, "m", "o/app")), put(member(t, "y", "v/app")), new(*Conflict)},
		"nothing in common":        {put(nic(t, "x", "v/web")), put(nic(t, "y", "v/web")), nil},
		"rule change while used":   {put(nsg(t, "n")), put(vnet(t, "v", "web=n", "app")), nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pair := range [][2]*Store{{a, b}, {b, a}} {
				base := reset(t, a, b)
				must(t, pair[0], c.first.on(base))
				if name == "deleted and created anew" {
					must(t, pair[0], put(nsg(t, "n")))
				}
				before := etcdKeys(t, a)
				rev, err := pair[1].Commit(ctx(t), c.then.on(base))
				if _, err := a.Wait(ctx(t), rev); err != nil {
					t.Fatal(err)
				}
				switch {
				case c.want == nil && err != nil:
					t.Fatal(err)
				case c.want != nil && (err == nil || !errors.As(err, c.want)):
					t.Fatalf("%v (%T), want %T", err, err, c.want)
				case c.want != nil && etcdKeys(t, a) != before:
					t.Fatal("the refused write changed the store")
				}
			}
		})
	}
}

// reset makes the stores hold the group, NSG n, and VNet v with two subnets.
func reset(t *testing.T, a, b *Store) *Snapshot {
	t.Helper()
	var all []string
	snap, err := a.Wait(ctx(t), b.Snapshot().Revision())
	if err != nil {
		t.Fatal(err)
	}
	for d := range snap.Docs() {
		all = append(all, d.Key())
	}
	must(t, a, &Write{Base: snap, Delete: all})
	snap = must(t, a, put(group(t), nsg(t, "n"), vnet(t, "v", "web", "app"), vnet(t, "o", "web", "app"), asg(t, "a"), member(t, "m", "o/web")))
	if _, err := b.Wait(ctx(t), snap.Revision()); err != nil {
		t.Fatal(err)
	}
	return snap
}
