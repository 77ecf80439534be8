package compile_test

import (
	"flag"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/intent/resource"
)

var update = flag.Bool("update", false, "write the goals and problems of the stories anew")

// A story is a txtar file. Its documents are named TYPE/NAME (or GROUP/TYPE/NAME) and hold what a client would PUT, with ~ for
// the path of the resource group's network resources; what would be allocated is made up in their order. Then come
//
//	facts     the fabric: lines "host NAME UNDERLAY", "list TAG PREFIX…", "forwarder ADDRESS:PORT", "profile NAME"
//	packets   lines "VM PROTOCOL TO[:PORT] = VERDICT", judged in order by the model; written by hand
//	goal      what is compiled; problems: what failed closed. Both are written by go test -update and read in review
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { tell(t, file) })
	}
}

func tell(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := readStory(t, archive)
	hosts := compile.Compile(s.view, s.facts, nil)
	for _, h := range hosts {
		if err := goal.Check(h); err != nil {
			t.Errorf("host %s: %v", h.Name, err)
		}
	}
	s.judge(t, hosts)
	got := map[string]string{"goal": s.text(hosts), "problems": s.problems()}
	if got["problems"] == "" {
		delete(got, "problems")
	}
	if *update {
		archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "goal" || f.Name == "problems" })
		for _, name := range slices.Sorted(maps.Keys(got)) {
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
		}
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range []string{"goal", "problems"} {
		if d := cmp.Diff(s.part(name), got[name]); d != "" {
			t.Errorf("%s (-in the story +compiled):\n%s", name, d)
		}
	}
}

// story is what a story's file says.
type story struct {
	archive *txtar.Archive
	view    *resource.View
	facts   compile.Facts
	docs    []*resource.Doc
}

const (
	subscription = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/"
	network      = "/providers/Microsoft.Network/"
)

func readStory(t *testing.T, archive *txtar.Archive) *story {
	t.Helper()
	s := &story{archive: archive}
	for _, f := range archive.Files {
		switch f.Name {
		case "facts":
			s.readFacts(t, string(f.Data))
		case "packets", "goal", "problems":
		default:
			s.addDoc(t, f.Name, string(f.Data))
		}
	}
	s.view = view(t, s.docs)
	return s
}

func view(t testing.TB, docs []*resource.Doc) *resource.View {
	t.Helper()
	v, faults := resource.BuildView(42, func(yield func(*resource.Doc) bool) {
		for _, d := range docs {
			if !yield(d) {
				return
			}
		}
	})
	if len(faults) > 0 {
		t.Fatalf("documents have faults: %+v", faults)
	}
	return v
}

// addDoc decodes a document as the API does and gives it what would be allocated.
func (s *story) addDoc(t testing.TB, name, body string) {
	t.Helper()
	group, provider := "rg", network
	parts := strings.Split(name, "/")
	if len(parts) == 3 || len(parts) == 5 {
		group, parts = parts[0], parts[1:]
	}
	if parts[0] == "virtualMachines" {
		provider = "/providers/Microsoft.Compute/"
	}
	id, err := resource.ParseID(subscription + group + provider + strings.Join(parts, "/"))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	body = strings.ReplaceAll(body, `"~`, `"`+subscription+group+network[:len(network)-1])
	if strings.HasPrefix(parts[0], "private") {
		s.addZone(t, id, []byte(body))
		return
	}
	decoded, faults := resource.Decode(resource.Find(id.Type), []byte(body))
	if len(faults) > 0 {
		t.Fatalf("%s: %+v", name, faults)
	}
	d := resource.NewDoc(id, decoded)
	s.docs = append(s.docs, d)
	allocate(d, s.docs)
}

// addZone puts a private zone, or a record or link into one that is there.
func (s *story) addZone(t testing.TB, id resource.ID, body []byte) {
	t.Helper()
	i := slices.IndexFunc(s.docs, func(d *resource.Doc) bool { return d.Key() == id.Top().Key() })
	var old *resource.Doc
	if i >= 0 {
		old = s.docs[i]
	}
	d, faults := resource.Put(old, id, body, "2024-06-01")
	if len(faults) > 0 {
		t.Fatalf("%s: %+v", id, faults)
	}
	if i < 0 {
		s.docs = append(s.docs, d)
	} else {
		s.docs[i] = d
	}
}

// allocate numbers networks and interfaces in their order and places machines by their tag. Addresses must be given.
func allocate(d *resource.Doc, docs []*resource.Doc) {
	n := uint32(0)
	for _, o := range docs {
		if o.Type == d.Type {
			n++
		}
	}
	switch d.Type.Name {
	case "Microsoft.Network/virtualNetworks":
		d.System = resource.System{VNI: 99 + n, Domain: fmt.Sprintf("v%d.rx.internal.cloudapp.net", n)}
	case "Microsoft.Network/networkInterfaces":
		d.System = resource.System{Port: n, MAC: fmt.Sprintf("02:52:46:00:00:%02x", n)}
	case "Microsoft.Compute/virtualMachines":
		d.System = resource.System{Host: d.Tags()["ringfence-host"], VMID: fmt.Sprintf("00000000-0000-0000-0000-%012d", n)}
	}
}

func (s *story) readFacts(t *testing.T, text string) {
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		switch w[0] {
		case "host":
			s.facts.Hosts = append(s.facts.Hosts, compile.HostFact{Name: w[1], Underlay: netip.MustParseAddr(w[2])})
		case "list":
			if s.facts.PrefixLists == nil {
				s.facts.PrefixLists = map[string][]netip.Prefix{}
			}
			s.facts.PrefixLists[w[1]] = []netip.Prefix{}
			for _, p := range w[2:] {
				s.facts.PrefixLists[w[1]] = append(s.facts.PrefixLists[w[1]], netip.MustParsePrefix(p))
			}
		case "forwarder":
			s.facts.Forwarders = append(s.facts.Forwarders, netip.MustParseAddrPort(w[1]))
		case "profile":
			s.facts.Profile = w[1]
		default:
			t.Fatalf("facts: %q", line)
		}
	}
}

func (s *story) part(name string) string {
	for _, f := range s.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// short writes ids as a story does.
func short(text string) string { return strings.ReplaceAll(text, subscription, "…/") }

// text is every host's goal; the contents of the tag Internet stand in the story of the tags only.
func (s *story) text(hosts map[string]*goal.Host) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		h := *hosts[name]
		h.VNets = slices.Clone(h.VNets)
		for i := range h.VNets {
			if !strings.Contains(string(s.archive.Comment), "whole Internet") {
				h.VNets[i].Sets = slices.Clone(h.VNets[i].Sets)
				for k := range h.VNets[i].Sets {
					if set := &h.VNets[i].Sets[k]; set.Name == goal.SetInternet {
						set.Prefixes = nil
					}
				}
			}
		}
		b.WriteString(short(goal.Text(&h)) + "\n")
	}
	return b.String()
}

func (s *story) problems() string {
	var b strings.Builder
	for _, p := range compile.Problems(s.view, s.facts, nil) {
		fmt.Fprintf(&b, "%s: %s %q: %s\n", short(p.ID), p.Field, short(p.Value), p.Effect)
	}
	return b.String()
}

// judge asks the model for the verdict on every packet of the story.
func (s *story) judge(t *testing.T, hosts map[string]*goal.Host) {
	models := map[string]*model.Model{}
	for name, h := range hosts {
		models[name] = model.New(h)
	}
	for line := range strings.Lines(s.part("packets")) {
		question, want, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if strings.HasPrefix(line, "#") || question == "" {
			continue
		}
		w := strings.Fields(question)
		if !ok || len(w) != 3 {
			t.Fatalf("packets: %q", line)
		}
		got := send(t, hosts, models, w[0], w[1], w[2])
		if got != want {
			t.Errorf("%s: the model says %q, the story %q", question, got, want)
		}
	}
}

// send lets a VM open a conversation and says in the story's words what becomes of it: who receives it, or the reason and rule.
func send(t *testing.T, hosts map[string]*goal.Host, models map[string]*model.Model, from, protocol, to string) string {
	t.Helper()
	dport := uint16(0)
	if i := strings.LastIndex(to, ":"); i >= 0 && (protocol == "tcp" || protocol == "udp") {
		if _, err := fmt.Sscan(to[i+1:], &dport); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		to = to[:i]
	}
	number := map[string]uint8{"tcp": goal.TCP, "udp": goal.UDP, "ping": goal.ICMP, "esp": goal.ESP, "ah": goal.AH}[protocol]
	dst, err := netip.ParseAddr(strings.Trim(to, "[]"))
	for host, port := range allPorts(hosts) {
		if err != nil && last(port.VM) == to {
			dst = port.Addresses[0].IP
		}
		_ = host
	}
	for host, port := range allPorts(hosts) {
		if last(port.VM) != from {
			continue
		}
		p := model.Open(port, number, dst, 50000, dport)
		v, steps := model.Send(models, host, port.Index, p)
		if v.Action == model.Deliver {
			return "to " + receiver(hosts, v.Port) + " by " + rulesOf(steps)
		}
		if v.Action == model.Service {
			return "service"
		}
		if v.Rule != "" {
			return fmt.Sprintf("%s %s %s %s", v.Reason, v.Dir, last(v.Group), last(v.Rule))
		}
		return v.Reason.String()
	}
	t.Fatalf("no VM %s is on the network", from)
	return ""
}

func allPorts(hosts map[string]*goal.Host) iter.Seq2[string, *goal.Port] {
	return func(yield func(string, *goal.Port) bool) {
		for _, name := range slices.Sorted(maps.Keys(hosts)) {
			for i := range hosts[name].Ports {
				if !yield(name, &hosts[name].Ports[i]) {
					return
				}
			}
		}
	}
}

func receiver(hosts map[string]*goal.Host, index uint32) string {
	for _, p := range allPorts(hosts) {
		if p.Index == index {
			return last(p.VM)
		}
	}
	return ""
}

// rulesOf names the rules that allowed, none for a known flow or where there is no group.
func rulesOf(steps []model.Step) string {
	var names []string
	for _, s := range steps {
		if s.Rule != "" {
			names = append(names, last(s.Rule))
		}
	}
	if names == nil {
		return "nobody"
	}
	return strings.Join(slices.Compact(names), ",")
}

func last(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
