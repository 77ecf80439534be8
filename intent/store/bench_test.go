package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence/intent/resource"
)

// fullNSG has 1,000 rules with a few prefixes each, as clients write them.
func fullNSG(t testing.TB, name string, round int) *resource.Doc {
	rules := make([]string, 1000)
	for i := range rules {
		rules[i] = fmt.Sprintf(`{"name":"rule-%d","properties":{"protocol":"Tcp","access":"Allow","direction":"Inbound","priority":%d,`+
			`"sourceAddressPrefixes":["10.%d.%d.0/24","10.%d.%d.0/25"],"sourcePortRange":"*","destinationAddressPrefix":"VirtualNetwork","destinationPortRange":"%d","description":"round %d of rule %d"}}`,
			i, 100+i, i%256, i/256, (i+7)%256, i/256, 1024+i, round, i)
	}
	return doc(t, rg+"/providers/Microsoft.Network/networkSecurityGroups/"+name,
		`{"location":"westus","properties":{"securityRules":[`+strings.Join(rules, ",")+`]}}`)
}

// From Commit to the snapshot that has it, with the disk's wait.
func BenchmarkCommitFullNSG(b *testing.B) {
	s := start(b, Options{})
	must(b, s, put(group(b)))
	d := fullNSG(b, "n", 1)
	b.SetBytes(int64(len(d.Body)))
	for b.Loop() {
		must(b, s, put(d))
	}
}

func BenchmarkCommitSmall(b *testing.B) {
	s := start(b, Options{})
	must(b, s, put(group(b)))
	d := nsg(b, "n")
	for b.Loop() {
		must(b, s, put(d))
	}
}

// One document more in a store of 10,000.
func BenchmarkCommitAmong10000(b *testing.B) {
	s := start(b, Options{})
	w := put(group(b))
	for i := range 10_000 {
		w.Put = append(w.Put, Put{Doc: nsg(b, fmt.Sprint("n", i))})
	}
	must(b, s, w)
	d := nsg(b, "n5000")
	for b.Loop() {
		must(b, s, put(d))
	}
}

// A start on 10,000 documents.
func BenchmarkOpen10000(b *testing.B) {
	dir, err := os.MkdirTemp("", "rfs")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	opt := Options{DataDir: filepath.Join(dir, "d"), RunDir: filepath.Join(dir, "r")}
	s := start(b, opt)
	w := put(group(b))
	for i := range 10_000 {
		w.Put = append(w.Put, Put{Doc: nsg(b, fmt.Sprint("n", i))})
	}
	must(b, s, w)
	s.Close()
	for b.Loop() {
		start(b, opt).Close()
	}
}

func BenchmarkAck(b *testing.B) {
	s := start(b, Options{})
	for i := uint64(0); b.Loop(); i++ {
		if err := s.PutAck(ctx(b), "h1", i, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// The view after one change among 10,000 interfaces and machines.
func BenchmarkViewAmong10000(b *testing.B) {
	docs := put(group(b), vnet(b, "v", "web"))
	for i := range 10_000 {
		docs.Put = append(docs.Put, Put{Doc: nic(b, fmt.Sprint("nic", i), "v/web")})
	}
	snap := Offline(nil, nil).With(docs)
	snap.View()
	for b.Loop() {
		snap = snap.With(put(nic(b, "nic77", "v/web")))
		snap.View()
	}
}
