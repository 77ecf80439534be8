package matrix

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"ringfence/examples"
)

// The example's files are read whole, and every pair of tiers that the demo measures has a line.
func TestExample(t *testing.T) {
	read := func(name string) string {
		b, err := fs.ReadFile(examples.ThreeTier, "three-tier/"+name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	e, err := ParseExpected(read("expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMachines(read("machines.txt"), "contoso", "fabrikam")
	if err != nil {
		t.Fatal(err)
	}
	tiers, both := map[string]int{}, 0
	for _, m := range m {
		tiers[m.Tier]++
		if len(m.Hosts) == 2 {
			both++
		}
	}
	if both != 6 || tiers["web"] != 2 || tiers["app"] != 2 || tiers["db"] != 2 {
		t.Errorf("machines: %d of both tenants, tiers %v", both, tiers)
	}
	for from := range tiers {
		for _, to := range []string{"web", "app", "db", "guest", "internet", "host"} {
			if from == "guest" && to == "guest" {
				continue
			}
			for _, p := range e.Probes {
				if _, known := e.Expect(from, to, p); !known {
					t.Errorf("%s to %s %s is not in expected.txt", from, to, p)
				}
			}
		}
	}
	if through, known := e.Expect("web", "app", Probe{"tcp", 8443}); !through || !known {
		t.Error("web to app tcp/8443")
	}
	if through, known := e.Expect("web", "app", Probe{"tcp", 22}); through || !known {
		t.Error("web to app tcp/22")
	}
}

func TestParseRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "nothing is expected",
		"from to tcp/80\n":                    "nothing is expected",
		"to from tcp/80\n":                    "line 1: the first line is",
		"from to tcp/0\n":                     `"tcp/0" is no probe`,
		"from to sctp/1\n":                    `"sctp/1" is no probe`,
		"from to icmp icmp\n":                 "occurs twice",
		"# c\nfrom to icmp\na b maybe\n":      `line 3: "maybe" is neither yes nor no`,
		"from to icmp tcp/1\na b yes\n":       "line 2: 3 words",
		"from to icmp\na b yes # x\na b no\n": "a to b occurs twice",
	} {
		if _, err := ParseExpected(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"a t s - 10.0.0.4 fd00::4":                               "6 words",
		"a t s - fd00::4 fd00::4 h":                              `"fd00::4" is no IPv4 address`,
		"a t s - 10.0.0.4 10.0.0.5 h":                            `"10.0.0.5" is no IPv6 address`,
		"a t s - 10.0.0.4 fd00::4 h\na t s - 10.0.0.4 fd00::4 h": "the machine a occurs twice",
	} {
		if _, err := ParseMachines(text, "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

// A cell is good only when three known answers agree; what was not measured or not written down is counted as bad.
func TestGood(t *testing.T) {
	for _, c := range []struct {
		got, model, expected Answer
		good                 bool
	}{
		{Yes, Yes, Yes, true}, {No, No, No, true}, {Yes, No, No, false}, {No, Yes, No, false}, {No, No, Yes, false},
		{Unknown, No, No, false}, {No, Unknown, No, false}, {No, No, Unknown, false}, {Unknown, Unknown, Unknown, false}, {Wrong, Wrong, Wrong, false},
	} {
		if cell := (Cell{Got: c.got, Model: c.model, Expected: c.expected}); cell.Good() != c.good {
			t.Errorf("%v %v %v: good %v", c.got, c.model, c.expected, cell.Good())
		}
	}
}

func TestPrint(t *testing.T) {
	e, err := ParseExpected("from to tcp/80 icmp\nweb db yes no\n")
	if err != nil {
		t.Fatal(err)
	}
	tcp, icmp := e.Probes[0], e.Probes[1]
	cell := func(p Probe, family string, got, expected Answer) Cell {
		return Cell{Tenant: "contoso", From: "web1", To: "db1", FromTier: "web", ToTier: "db", Family: family, Probe: p, Got: got, Model: expected, Expected: expected, Detail: "why"}
	}
	var b bytes.Buffer
	bad, err := Print(&b, e, []Cell{cell(tcp, "IPv4", Yes, Yes), cell(tcp, "IPv6", No, Yes), cell(icmp, "IPv4", No, No), cell(icmp, "IPv6", No, No)}, false)
	if err != nil || bad != 1 {
		t.Errorf("bad %d, %v", bad, err)
	}
	want := `
contoso
  from  to  probes  cells  got through  model  expected
  web   db  tcp/80  1      yes          yes    yes
  web   db  tcp/80  1      no           yes    yes  <<<
  web   db  icmp    2      no           no     no

  tenant   from  to   family  probe   got through  model  expected  
  contoso  web1  db1  IPv6    tcp/80  no           yes    yes       why
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if bad, _ := Print(&b, e, []Cell{cell(tcp, "IPv4", Yes, Yes)}, true); bad != 0 || !strings.Contains(b.String(), "IPv4") {
		t.Errorf("all cells: %s", b.String())
	}
}
