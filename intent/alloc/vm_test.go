package alloc

import (
	"fmt"
	"strings"
	"testing"

	"ringfence/intent/resource"
	"ringfence/intent/store"
)

func vm(t failer, name, tags string, nics ...string) *resource.Doc {
	t.Helper()
	var list []string
	for _, n := range nics {
		list = append(list, `{"id":"`+nicID+n+`"}`)
	}
	return doc(t, vmID+name, `{"location":"westus","tags":{`+tags+`},"properties":{"networkProfile":{"networkInterfaces":[`+strings.Join(list, ",")+`]}}}`)
}

func TestPlacement(t *testing.T) {
	up := func(name string, capacity int) store.Host {
		return store.Host{Name: name, Capacity: capacity, Connected: true}
	}
	marked := func(name, state string) store.Host {
		return store.Host{Name: name, Connected: true, Mark: store.Mark{State: state}}
	}
	for name, c := range map[string]struct {
		hosts []store.Host
		tags  []string // of the machines m0, m1 …; "again N" puts machine N once more without tags
		want  string
	}{
		"by name, then in turn": {[]store.Host{up("h2", 0), up("h1", 0)}, []string{"", "", "", ""}, "h1 h2 h1 h2"},
		"the tag decides":       {[]store.Host{up("h1", 0), up("h2", 0)}, []string{`"ringfence-host":"h2"`, `"Ringfence-Host":"h2"`, "", ""}, "h2 h2 h1 h1"},
		"sticky":                {[]store.Host{up("h1", 0), up("h2", 0)}, []string{`"ringfence-host":"h2"`, `"ringfence-host":"h2"`, "again 0"}, "h2 h2 h2"},
		"moved by the tag":      {[]store.Host{up("h1", 0), up("h2", 0)}, []string{"", `again 0,"ringfence-host":"h2"`}, "h1 h2"},
		"unknown":               {[]store.Host{up("h1", 0), up("h2", 0)}, []string{`"ringfence-host":"H9"`}, "400 InvalidParameter: The value 'H9' of tag 'ringfence-host' does not name a host. Known hosts: h1, h2."},
		"no host":               {nil, []string{""}, "409 AllocationFailed: Allocation failed. No host has joined yet on which the virtual machine could be placed."},
		"connected ones first":  {[]store.Host{{Name: "h1"}, up("h2", 0)}, []string{"", ""}, "h2 h2"},
		"none connected":        {[]store.Host{{Name: "h1"}, {Name: "h2"}}, []string{"", ""}, "h1 h2"},
		"a full one is passed":  {[]store.Host{up("h1", 1), up("h2", 0)}, []string{"", "", "", ""}, "h1 h2 h2 h2"},
		"drained ones never":    {[]store.Host{marked("h1", store.Draining), {Name: "h2"}}, []string{"", ""}, "h2 h2"},
		"drained, by name":      {[]store.Host{marked("h1", store.Draining), up("h2", 0)}, []string{`"ringfence-host":"h1"`}, "409 AllocationFailed: Allocation failed. Host h1 takes no virtual machines: it is draining."},
		"drained and full":      {[]store.Host{marked("h1", store.Failed), up("h2", 1)}, []string{"", ""}, "409 AllocationFailed: Allocation failed. No host takes the virtual machine: h1 is failed, h2 has as many virtual machines as it takes (1)."},
		"all full":              {[]store.Host{up("h1", 1)}, []string{"", ""}, "409 AllocationFailed: Allocation failed. All hosts (h1) have as many virtual machines as they take."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(c.hosts...)
			var got []string
			for i, tags := range c.tags {
				d := vm(t, fmt.Sprint("m", i), tags)
				if rest, again := strings.CutPrefix(tags, "again 0"); again {
					d = vm(t, "m0", strings.TrimPrefix(rest, ","))
				}
				d, err := w.put(d)
				if err != nil {
					f := err.(resource.Faults)[0]
					got = []string{fmt.Sprintf("%d %s", f.Status, err)}
					break
				}
				if d.System.VMID == "" {
					t.Error("no vmId")
				}
				got = append(got, d.System.Host)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, " "), c.want)
			}
		})
	}
}

// An interface is in one machine at a time; what a machine gives up another can have.
func TestInterfaceInOneMachine(t *testing.T) {
	w := newWorld(store.Host{Name: "h1"})
	w.must(t, vnet(t, "v", "10.0.0.0/24"))
	w.must(t, nic(t, "n1", "a=v/s0"))
	first := w.must(t, vm(t, "m1", "", "n1"))
	w.must(t, vm(t, "m1", "", "N1"))
	if _, err := w.put(vm(t, "m2", "", "N1")); err == nil || !strings.HasPrefix(err.Error(), "NicInUse: Network Interface "+nicID+"n1 is used by existing resource "+vmID+"m1.") {
		t.Errorf("taken by two machines: %v", err)
	}
	w.drop(first)
	w.must(t, vm(t, "m2", "", "n1"))
}

// A machine that leaves its host keeps everything else, goes to the least loaded host that can take it, and is not called back by its
// tag while that host takes none.
func TestMove(t *testing.T) {
	failed := store.Host{Name: "h1", Mark: store.Mark{State: store.Failed}}
	up := func(name string, capacity int) store.Host {
		return store.Host{Name: name, Capacity: capacity, Connected: true}
	}
	for name, c := range map[string]struct {
		others []store.Host
		want   string // host, or the refusal
	}{
		"least loaded":    {[]store.Host{up("h2", 0), up("h3", 0)}, "h3"},
		"not to the dead": {[]store.Host{up("h2", 0), {Name: "h3"}}, "h2"},
		"not to the full": {[]store.Host{up("h2", 1), {Name: "h3"}},
			"AllocationFailed: Virtual machine m stays on host h1, no other can take it: h2 has as many virtual machines as it takes (1), h3 is not connected."},
		"nobody": {nil, "AllocationFailed: Virtual machine m stays on host h1, no other can take it: there is no other host."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(append([]store.Host{up("h1", 0)}, c.others...)...)
			w.must(t, vnet(t, "v", "10.0.0.0/24"))
			w.must(t, nic(t, "n1", "a=v/s0"))
			body := vm(t, "m", `"ringfence-host":"h1"`, "n1")
			before := w.must(t, body).System
			if c.others != nil {
				w.must(t, vm(t, "there", `"ringfence-host":"h2"`))
			}
			w.snap = offlineAgain(w, append([]store.Host{failed}, c.others...))
			moving := *w.snap.Get(body.Key())
			d := &Draft{Base: w.snap, Doc: &moving}
			if err := w.a.Move(d); err != nil {
				if err.Error() != c.want {
					t.Errorf("got  %v\nwant %s", err, c.want)
				}
				return
			}
			after := moving.System
			if after.Host != c.want || len(d.Claims) != 1 || fmt.Sprint(d.Hosts) != "[h1 "+c.want+"]" {
				t.Errorf("%+v, claims %v, relies on %v", after, d.Claims, d.Hosts)
			}
			after.Host = before.Host
			if fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("%+v became %+v", before, after)
			}
			w.snap = w.snap.With(&store.Write{Put: []store.Put{{Doc: &moving, Claims: d.Claims}}})
			if again := w.must(t, vm(t, "m", `"ringfence-host":"h1"`, "n1")); again.System.Host != c.want {
				t.Errorf("written again it is on %s", again.System.Host)
			}
		})
	}
}

// offlineAgain is the world with other hosts.
func offlineAgain(w *world, hosts []store.Host) *store.Snapshot {
	next := &store.Write{}
	for d := range w.snap.Docs() {
		next.Put = append(next.Put, store.Put{Doc: d})
	}
	return store.Offline(hosts, nil).With(next)
}
