package compile_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/intent/resource"
)

// state is a named state of the documents and facts. From any state to any other is a valid sequence.
type state struct {
	name  string
	docs  []document
	facts compile.Facts
}

type document struct{ name, body string }

const asgDoc = `{"location":"westeurope","properties":{}}`

func vnetDoc(prefix, subnet, nsg string) string {
	if nsg != "" {
		nsg = `,"networkSecurityGroup":{"id":"~/networkSecurityGroups/` + nsg + `"}`
	}
	return fmt.Sprintf(`{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["%s"]},"subnets":[{"name":"s","properties":{"addressPrefix":"%s"%s}}]}}`, prefix, subnet, nsg)
}

func nicDoc(vnet, ip, nsg, asg string) string {
	if nsg != "" {
		nsg = `"networkSecurityGroup":{"id":"~/networkSecurityGroups/` + nsg + `"},`
	}
	if asg != "" {
		asg = `,"applicationSecurityGroups":[{"id":"~/applicationSecurityGroups/` + asg + `"}]`
	}
	return fmt.Sprintf(`{"location":"westeurope","properties":{%s"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":"~/virtualNetworks/%s/subnets/s"},"privateIPAllocationMethod":"Static","privateIPAddress":"%s"%s}}]}}`, nsg, vnet, ip, asg)
}

func vmDoc(host, nic string) string {
	return fmt.Sprintf(`{"location":"westeurope","tags":{"ringfence-host":"%s"},"properties":{"networkProfile":{"networkInterfaces":[{"id":"~/networkInterfaces/%s"}]}}}`, host, nic)
}

func ruleDoc(rules ...string) string {
	return `{"location":"westeurope","properties":{"securityRules":[` + strings.Join(rules, ",") + `]}}`
}

func ruleText(name string, priority int, access, source, ports string) string {
	return fmt.Sprintf(`{"name":"%s","properties":{"priority":%d,"direction":"Inbound","access":"%s","protocol":"Tcp",%s,"destinationAddressPrefix":"*","sourcePortRange":"*","destinationPortRange":"%s"}}`, name, priority, access, source, ports)
}

// states are points in the life of a small fabric; each differs from others in a way that a memo could overlook.
func states() []state {
	hosts := compile.Facts{Hosts: []compile.HostFact{{Name: "host1", Underlay: netip.MustParseAddr("198.18.0.11")}, {Name: "host2", Underlay: netip.MustParseAddr("198.18.0.12")}}}
	moved := compile.Facts{Hosts: []compile.HostFact{{Name: "host1", Underlay: netip.MustParseAddr("198.18.0.99")}, hosts.Hosts[1]}}
	listed, other, profile, forwarding := hosts, hosts, hosts, hosts
	forwarding.Forwarders = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}
	listed.PrefixLists = map[string][]netip.Prefix{"Storage": {netip.MustParsePrefix("20.0.0.0/8")}}
	other.PrefixLists = map[string][]netip.Prefix{"Storage": {netip.MustParsePrefix("21.0.0.0/8")}}
	profile.Profile = compile.ProfileAzure2024
	web := `"sourceApplicationSecurityGroups":[{"id":"~/applicationSecurityGroups/web"}]`
	tag := func(t string) string { return `"sourceAddressPrefix":"` + t + `"` }
	base := []document{
		{"applicationSecurityGroups/web", asgDoc},
		{"networkSecurityGroups/nsg", ruleDoc(ruleText("web", 100, "Allow", web, "80"), ruleText("storage", 110, "Deny", tag("Storage"), "81"), ruleText("no", 120, "Deny", tag("VirtualNetwork"), "80"))},
		{"virtualNetworks/v", vnetDoc("10.0.0.0/16", "10.0.0.0/24", "nsg")},
		{"networkInterfaces/a", nicDoc("v", "10.0.0.4", "", "web")}, {"virtualMachines/a", vmDoc("host1", "a")},
		{"networkInterfaces/b", nicDoc("v", "10.0.0.5", "nsg", "")}, {"virtualMachines/b", vmDoc("host2", "b")},
		{"virtualNetworks/w", vnetDoc("10.0.0.0/16", "10.0.0.0/24", "")},
		{"networkInterfaces/c", nicDoc("w", "10.0.0.4", "nsg", "web")}, {"virtualMachines/c", vmDoc("host1", "c")},
	}
	with := func(name, body string) []document { // base with one document changed, or gone
		docs := slices.Clone(base)
		i := slices.IndexFunc(docs, func(d document) bool { return d.name == name })
		if body == "" {
			return slices.Delete(docs, i, i+1)
		}
		docs[i].body = body
		return docs
	}
	return []state{
		{"nothing", nil, compile.Facts{}},
		{"hosts", nil, hosts},
		{"base", base, listed},
		{"no list", base, hosts},
		{"another list", base, other},
		{"another profile", base, profile},
		{"another underlay", base, moved},
		{"one host less", base, compile.Facts{Hosts: hosts.Hosts[:1], PrefixLists: listed.PrefixLists}},
		{"rule changed", with("networkSecurityGroups/nsg", ruleDoc(ruleText("web", 100, "Allow", web, "8080"))), listed},
		{"rules gone", with("networkSecurityGroups/nsg", ruleDoc()), listed},
		{"group gone", with("networkSecurityGroups/nsg", ""), listed},
		{"asg gone", with("applicationSecurityGroups/web", ""), listed},
		{"asg respelled", append(with("applicationSecurityGroups/web", ""), document{"applicationSecurityGroups/WEB", asgDoc}), listed},
		{"member left", with("networkInterfaces/a", nicDoc("v", "10.0.0.4", "", "")), listed},
		{"member joined", with("networkInterfaces/b", nicDoc("v", "10.0.0.5", "nsg", "web")), listed},
		{"address changed", with("networkInterfaces/a", nicDoc("v", "10.0.0.9", "", "web")), listed},
		{"machine moved", with("virtualMachines/a", vmDoc("host2", "a")), listed},
		{"machine has a zone", with("virtualMachines/a", strings.Replace(vmDoc("host1", "a"), `"properties"`, `"zones":["1"],"properties"`, 1)), listed},
		{"machine has another host name", with("virtualMachines/a", strings.Replace(vmDoc("host1", "a"), `"properties":{`, `"properties":{"osProfile":{"computerName":"z"},`, 1)), listed},
		{"forwarders", base, forwarding},
		{"machine unplaced", with("virtualMachines/a", vmDoc("", "a")), listed},
		{"machine gone", with("virtualMachines/c", ""), listed},
		{"interface gone", with("networkInterfaces/b", ""), listed},
		{"space grew", with("virtualNetworks/v", vnetDoc("10.0.0.0/8", "10.0.0.0/24", "nsg")), listed},
		{"subnet unguarded", with("virtualNetworks/v", vnetDoc("10.0.0.0/16", "10.0.0.0/24", "")), listed},
		{"subnet wider", with("virtualNetworks/v", vnetDoc("10.0.0.0/16", "10.0.0.0/20", "nsg")), listed},
		{"network gone", with("virtualNetworks/v", ""), listed},
		{"in another network", with("networkInterfaces/b", nicDoc("w", "10.0.0.5", "nsg", "")), listed},
	}
}

// view makes a state's view anew: nothing is shared with views made before.
func (s state) view(t testing.TB) *resource.View {
	st := &story{}
	for _, d := range s.docs {
		st.addDoc(t, d.name, d.body)
		d := st.docs[len(st.docs)-1]
		switch name := d.ID.Name(); d.Type.Name { // numbers stay with names
		case "Microsoft.Network/virtualNetworks":
			d.System.VNI = 100 + uint32(name[0])
		case "Microsoft.Network/networkInterfaces":
			d.System.Port = 1 + uint32(name[0]-'a')
		}
	}
	return view(t, st.docs)
}

// answer is everything that a compilation says.
func answer(v *resource.View, f compile.Facts, memo *compile.Memo) string {
	var b strings.Builder
	hosts := compile.Compile(v, f, memo)
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		b.WriteString(goal.Text(hosts[name]))
	}
	fmt.Fprintln(&b, compile.Problems(v, f, memo))
	return b.String()
}

// From any state to any other, through a memo, with views made anew and with the same views: as from scratch.
func TestAnyStateToAnyOther(t *testing.T) {
	all := states()
	for _, from := range all {
		for _, to := range all {
			memo := compile.NewMemo()
			compile.Compile(from.view(t), from.facts, memo)
			if got, want := answer(to.view(t), to.facts, memo), answer(to.view(t), to.facts, nil); got != want {
				t.Errorf("from %q to %q:\n%s\nfrom scratch:\n%s", from.name, to.name, got, want)
			}
		}
	}
	seen := map[string]string{}
	for _, s := range all {
		a := answer(s.view(t), s.facts, nil)
		if other, ok := seen[a]; ok {
			t.Errorf("states %q and %q compile to the same: one of them tests nothing", s.name, other)
		}
		seen[a] = s.name
	}
}

// Any walk through the states gives in each what scratch gives: in order, reversed, with every state twice, with some left out.
func TestWalksThroughStates(t *testing.T) {
	all := states()
	views, scratch := make([]*resource.View, len(all)), make([]string, len(all))
	for i, s := range all {
		views[i] = s.view(t)
		scratch[i] = answer(views[i], s.facts, nil)
	}
	walk := func(t interface{ Fatalf(string, ...any) }, order []int) {
		memo := compile.NewMemo()
		for _, i := range order {
			if got := answer(views[i], all[i].facts, memo); got != scratch[i] {
				t.Fatalf("walk %v: state %q differs from scratch", order, all[i].name)
			}
		}
	}
	var forward, twice []int
	for i := range all {
		forward, twice = append(forward, i), append(twice, i, i)
	}
	walk(t, forward)
	walk(t, twice)
	slices.Reverse(forward)
	walk(t, forward)
	rapid.Check(t, func(t *rapid.T) {
		walk(t, rapid.SliceOfN(rapid.IntRange(0, len(all)-1), 1, 12).Draw(t, "walk"))
	})
}

// The order in which documents come has no say, and half of a state's documents on the way to it change nothing.
func TestOrderOfDocuments(t *testing.T) {
	for _, s := range states() {
		want := answer(s.view(t), s.facts, nil)
		v := s.view(t)
		memo := compile.NewMemo()
		for _, half := range []*resource.View{part(v, 0), part(v, 1)} {
			compile.Compile(half, s.facts, memo)
		}
		if got := answer(v, s.facts, memo); got != want {
			t.Errorf("state %q through halves differs from scratch", s.name)
		}
	}
}

// part is every other document of a view.
func part(v *resource.View, odd int) *resource.View {
	out := &resource.View{Revision: v.Revision}
	out.VNets, out.NSGs, out.ASGs, out.NICs, out.VMs = half(v.VNets, odd), half(v.NSGs, odd), half(v.ASGs, odd), half(v.NICs, odd), half(v.VMs, odd)
	return out
}

func half[T any](m map[string]T, odd int) map[string]T {
	out := map[string]T{}
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i%2 == odd {
			out[k] = m[k]
		}
	}
	return out
}

// Whatever field of whatever document changes, the memo notices: each leaf of a view is changed in turn, in a view made anew.
func TestMemoNoticesEveryField(t *testing.T) {
	make := func() (*resource.View, compile.Facts) {
		v, f := randomView(rand.New(rand.NewPCG(11, 9)))
		for _, vm := range v.VMs {
			vm.Host = "host1"
		}
		for _, key := range slices.Sorted(maps.Keys(v.NICs)) {
			if n := v.NICs[key]; n.VM == "" {
				n.Attachment = &resource.Attachment{Host: "host1", Kind: "netns", Device: "eth0", Namespace: "/run/netns/job", HostName: "job"}
				break
			}
		}
		for _, n := range v.VNets {
			n.DNS = []netip.Addr{netip.MustParseAddr("10.0.0.250")}
		}
		return v, f
	}
	v, _ := make()
	mattered := 0
	n := len(leaves(reflect.ValueOf(v)))
	for i := range n {
		v, f := make()
		memo := compile.NewMemo()
		before := answer(v, f, memo)
		w, _ := make()
		spoil(leaves(reflect.ValueOf(w))[i])
		want := answer(w, f, nil)
		if got := answer(w, f, memo); got != want {
			t.Errorf("leaf %d: the memo did not notice it", i)
		}
		if want != before {
			mattered++
		}
	}
	if n < 200 || mattered < n/2 {
		t.Errorf("%d leaves, of which %d mattered: the test asks too little", n, mattered)
	}
}

// leaves are the settable values inside x, in a fixed order.
func leaves(x reflect.Value) []reflect.Value {
	switch x.Interface().(type) {
	case netip.Addr, netip.Prefix:
		return []reflect.Value{x}
	}
	var out []reflect.Value
	switch x.Kind() {
	case reflect.Pointer:
		if x.IsNil() {
			return nil
		}
		return leaves(x.Elem())
	case reflect.Struct:
		for i := range x.NumField() {
			out = append(out, leaves(x.Field(i))...)
		}
	case reflect.Slice, reflect.Array:
		for i := range x.Len() {
			out = append(out, leaves(x.Index(i))...)
		}
	case reflect.Map:
		keys := x.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			out = append(out, leaves(x.MapIndex(k))...)
		}
	default:
		return []reflect.Value{x}
	}
	return out
}

func spoil(x reflect.Value) {
	switch old := x.Interface().(type) {
	case netip.Addr:
		x.Set(reflect.ValueOf(old.Next()))
		return
	case netip.Prefix:
		x.Set(reflect.ValueOf(netip.PrefixFrom(old.Addr(), old.Bits()-1)))
		return
	}
	switch x.Kind() {
	case reflect.String:
		x.SetString(x.String() + "1")
	case reflect.Bool:
		x.SetBool(!x.Bool())
	case reflect.Int:
		x.SetInt(x.Int() + 1)
	default:
		x.SetUint(x.Uint() + 100)
	}
}

// Compilations may share a memo at the same time.
func TestMemoIsShared(t *testing.T) {
	memo := compile.NewMemo()
	var wg sync.WaitGroup
	for _, s := range states() {
		v := s.view(t)
		want := answer(v, s.facts, nil)
		wg.Go(func() {
			for range 5 {
				if answer(v, s.facts, memo) != want {
					t.Errorf("state %q differs from scratch", s.name)
				}
			}
		})
	}
	wg.Wait()
}
