package house

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// allowed says for each room which other rooms it may import; data flows one way, so this is the picture in ARCHITECTURE.md as a
// table. A room covers the packages below it unless a longer name has a line of its own. A new package needs a line here.
var allowed = map[string][]string{
	// 1 what people asked for
	"intent/resource":        {},
	"intent/store":           {"intent/resource"},
	"intent/alloc":           {"intent/resource", "intent/store"},
	"intent/identity":        {"intent/resource", "intent/store"},
	"intent/identity/secret": {},
	"intent/login":           {"intent/identity"},
	"intent/template":        {"intent/resource"},
	"intent/arm":             {"intent/resource", "intent/store", "intent/identity", "intent/template"},
	"intent/load":            {"intent/resource", "intent/template"},
	// 2 and 3 what each host shall do
	"compile":      {"intent/resource", "goal"},
	"goal":         {},
	"goal/model":   {"goal", "observe"},
	"goal/random":  {"goal", "goal/model", "observe"}, // policies and packets for tests
	"verify":       {"goal", "goal/model", "observe"}, // witnesses are the model's packets
	"verify/space": {},
	// between the control plane and the hosts
	"publish": {"goal", "observe"},
	"pki":     {},
	// 4 the host
	"host/kernel":    {},
	"host/reconcile": {"goal", "observe"},
	"host/datapath":  {"goal", "observe", "host/kernel"},
	"host/sandbox":   {"goal", "observe", "host/kernel"},
	"host/services":  {"goal", "observe", "host/kernel"},
	"host/agent":     {"goal", "observe", "pki", "publish", "host"},
	// 5 what happened
	"observe":         {},
	"observe/metrics": {"observe"},
	"observe/journal": {},
	"observe/pcapng":  {},
	// wiring and people's ends
	"server":         {"intent", "compile", "goal", "observe", "pki", "publish", "verify", "host/kernel/netns"},
	"lab":            {"intent/identity/secret", "goal", "observe", "pki", "host/kernel", "host/sandbox"},
	"cli":            {"intent/resource", "intent/template", "intent/load", "compile", "verify", "goal", "observe", "server", "host/agent", "host/sandbox", "lab", "machine", "examples"},
	"cni":            {"host/agent/local", "host/kernel/netdev"},
	"examples":       {},
	"cmd/ringfence":  {"cli", "cni", "server", "host/agent", "lab", "machine"},
	"machine":        {"server", "host/agent", "intent/store", "intent/identity", "observe", "pki", "publish"},
	"packaging":      {"machine"},
	"docs":           {"intent/resource", "observe"},
	"bench":          {},
	"test":           {},
	"test/oracle":    {"goal", "host/kernel"},
	"test/isolation": {"goal", "observe", "host/kernel/netns"},
}

// allowedInTests lists what the tests of a room import beyond that: judges and neighbours, never upwards from the host.
var allowedInTests = map[string][]string{
	"host/datapath": {"goal/model", "goal/random", "verify"}, // what is proved is what is programmed
	"compile":       {"goal/model", "goal/random"},
	"verify":        {"goal/random"},
	"server":        {"host/agent", "goal/model"},
	"intent/arm":    {"intent/alloc", "server", "compile", "goal"},
	"intent/login":  {"intent/identity/secret", "intent/store"},
	"intent/store":  {"intent/alloc", "pki"},
	"intent/alloc":  {"intent/identity"},
	"cli":           {"goal/model", "intent", "compile"},
	"lab":           {"host/agent", "server", "goal/model"},
	"docs":          {},
	"publish":       {"pki"},
}

// room finds the line of a table for a package: the longest name that covers it.
func room(table map[string][]string, pkg string) (string, bool) {
	best, found := "", false
	for r := range table {
		if under(pkg, r) && (!found || len(r) > len(best)) {
			best, found = r, true
		}
	}
	return best, found
}

func covered(list []string, pkg string) bool {
	return slices.ContainsFunc(list, func(r string) bool { return under(pkg, r) })
}

func TestImportsGoDownTheStages(t *testing.T) {
	for _, f := range tree(t) {
		r, ok := room(allowed, f.pkg)
		if !ok {
			t.Errorf("%s: package %s has no line in the table of rooms", f.path, f.pkg)
			continue
		}
		for _, imp := range f.imports {
			o := own(imp)
			if o == "" || under(o, r) && under(f.pkg, r) {
				continue
			}
			if covered(allowed[r], o) || f.test && covered(testExtra(f.pkg), o) {
				continue
			}
			t.Errorf("%s imports %s: %s may import only %v", f.path, o, r, allowed[r])
		}
	}
}

func testExtra(pkg string) []string {
	r, ok := room(allowedInTests, pkg)
	if !ok {
		return nil
	}
	return allowedInTests[r]
}

// The three rules that matter most are said again by themselves, so that no edit of the table loosens them unseen.

func TestHostNeverSeesIntentOrCompile(t *testing.T) {
	for _, f := range tree(t) {
		if !under(f.pkg, "host") {
			continue
		}
		for _, imp := range f.imports {
			if o := own(imp); under(o, "intent") || under(o, "compile") || under(o, "server") || under(o, "cli") {
				t.Errorf("%s imports %s: a host knows its goal and nothing above it", f.path, o)
			}
		}
	}
}

func TestSiblingsUnderHostNeverSeeEachOther(t *testing.T) {
	family := func(pkg string) string {
		parts := strings.Split(pkg, "/")
		if parts[1] == "services" && len(parts) > 2 {
			return strings.Join(parts[:3], "/")
		}
		return strings.Join(parts[:2], "/")
	}
	for _, f := range tree(t) {
		if !under(f.pkg, "host") || under(f.pkg, "host/agent") {
			continue
		}
		for _, imp := range f.imports {
			o := own(imp)
			if under(o, "host") && !under(o, "host/kernel") && family(o) != family(f.pkg) {
				t.Errorf("%s imports %s: only host/agent sees all rooms of the host", f.path, o)
			}
		}
	}
	if family("host/services/dhcp/x") != "host/services/dhcp" || family("host/sandbox") != "host/sandbox" {
		t.Error("family is wrong")
	}
}

// kernelLeaves are leaves: no package below host/kernel imports another room, and not each other either.
func TestKernelPackagesAreLeaves(t *testing.T) {
	for _, f := range tree(t) {
		if !under(f.pkg, "host/kernel") {
			continue
		}
		for _, imp := range f.imports {
			if o := own(imp); o != "" && o != f.pkg && !(f.test && under(o, "host/kernel")) && !(f.pkg == "host/kernel/netdev" && o == "host/kernel/netns") {
				t.Errorf("%s imports %s: host/kernel is made of leaves", f.path, o)
			}
		}
	}
}

// owners names for each third-party library the only rooms that import it; golang.org/x/sys and yaml belong to everybody.
var owners = map[string][]string{
	"go.etcd.io/etcd":                 {"intent/store"},
	"go.uber.org/zap":                 {"intent/store"}, // etcd's logger
	"google.golang.org/grpc":          {"intent/store"}, // etcd's transport
	"github.com/klauspost/compress":   {"intent/store"},
	"github.com/cilium/ebpf":          {"host/kernel/bpf", "host/datapath"},
	"github.com/vishvananda/netlink":  {"host/kernel/netdev", "host/kernel/netns"},
	"github.com/vishvananda/netns":    {"host/kernel/netns", "host/kernel/netdev"},
	"github.com/insomniacslk/dhcp":    {"host/services/dhcp", "host/sandbox"},
	"github.com/miekg/dns":            {"host/services/dns"},
	"github.com/mdlayher/packet":      {"host/kernel/netdev"},
	"github.com/prometheus":           {"observe/metrics"},
	"github.com/go-jose/go-jose":      {"intent/identity"},
	"github.com/alecthomas/kong":      {"cli"},
	"github.com/jmespath/go-jmespath": {"cli"},
	"golang.org/x/sys":                {""},
	"go.yaml.in/yaml/v3":              {""},
	"github.com/google/go-cmp":        {""}, // tests only, see below
	"pgregory.net/rapid":              {""},
	"github.com/rogpeppe/go-internal": {""},
	"golang.org/x/tools/txtar":        {""},
}

// testOnly libraries never get into the binary.
var testOnly = []string{"github.com/google/go-cmp", "pgregory.net/rapid", "github.com/rogpeppe/go-internal", "golang.org/x/tools"}

func TestEveryLibraryHasOneOwner(t *testing.T) {
	libraries := slices.Collect(maps.Keys(owners))
	for _, f := range tree(t) {
		for _, imp := range f.imports {
			if own(imp) != "" || imp == "C" || !strings.Contains(strings.Split(imp, "/")[0], ".") {
				continue
			}
			i := slices.IndexFunc(libraries, func(l string) bool { return under(imp, l) })
			switch {
			case i < 0:
				t.Errorf("%s imports %s, which nobody owns: name its owner in this test", f.path, imp)
			case !slices.ContainsFunc(owners[libraries[i]], func(r string) bool { return r == "" || under(f.pkg, r) }):
				t.Errorf("%s imports %s, which belongs to %v", f.path, imp, owners[libraries[i]])
			case !f.test && slices.ContainsFunc(testOnly, func(l string) bool { return under(imp, l) }):
				t.Errorf("%s imports %s, which is for tests", f.path, imp)
			}
		}
	}
}

// Packages that make test data are no part of the product.
func TestTestDataStaysInTests(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || under(f.pkg, "goal/random") {
			continue
		}
		if slices.Contains(f.imports, module+"/goal/random") {
			t.Errorf("%s imports goal/random, which is for tests", f.path)
		}
	}
}
