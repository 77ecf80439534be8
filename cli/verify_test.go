package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// prove runs a command line that needs no server.
func prove(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, Programs{}, strings.NewReader(""), &o, &e)
	return o.String(), e.String(), code
}

func put(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	exampleTemplate = "../examples/three-tier/template.json"
	exampleChecks   = "../examples/three-tier/checks.yaml"
	dmzTemplate     = "../intent/template/testdata/microsoft/nsg-dmz-in-vnet.json"
)

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n--- got\n%s\n--- want\n%s", what, got, want)
	}
}

func TestVerifyExample(t *testing.T) {
	out, errOut, code := prove(t, "verify", "-f", exampleChecks, exampleTemplate)
	if code != 0 || errOut != "" || !strings.HasSuffix(out, "\n7 hold.\n") || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
}

const dmzChecks = `version: 1
zones:
  fe: {subnet: FESubnet}
  db: {subnet: First_ARM_VNet/DBSubnet}
  net: {tag: Internet}
assert:
- id: fe-not-to-db
  none: {from: fe, to: db}
- id: no-rdp-from-internet
  none: {from: net, to: fe, proto: tcp, dport: 3389}
- id: fe-uses-db
  some: {from: fe, to: db, proto: tcp, dport: 1433}
`

// Microsoft's own template: what its rules leave open is told with packet, path, file and line.
func TestVerifyViolation(t *testing.T) {
	checks := put(t, "checks.yaml", dmzChecks)
	out, _, code := prove(t, "verify", "-f", checks, dmzTemplate)
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{
		"holds     fe-not-to-db          no such packet arrives\n",
		"VIOLATED  no-rdp-from-internet  ",
		"          tcp 203.0.113.10:50000 > 10.0.0.4:3389   (outside → any-in-FESubnet)\n",
		"          inbound subnet   allow  FE_NSG/rdp_rule  " + dmzTemplate + ":77\n",
		"VIOLATED  fe-uses-db            ",
		"          inbound subnet   deny   DB_NSG/Block_FE  " + dmzTemplate + ":181\n",
		"\n1 holds, 2 are violated.\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
}

func TestVerifyJSON(t *testing.T) {
	out, _, code := prove(t, "verify", "-f", put(t, "checks.yaml", dmzChecks), dmzTemplate, "-o", "json")
	var v struct {
		Results []struct {
			ID, Status string
			Line       int
			Packet     struct{ DestinationPort int }
			Path       []struct {
				Rule, File, Verdict string
				Line                int
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 1 || len(v.Results) != 3 {
		t.Fatalf("%v, exit %d\n%s", err, code, out)
	}
	r := v.Results[1]
	last := r.Path[len(r.Path)-1]
	if r.Status != "violated" || r.Line != 9 || r.Packet.DestinationPort != 3389 || last.Line != 77 || last.File != dmzTemplate || !strings.HasSuffix(last.Rule, "FE_NSG/securityRules/rdp_rule") {
		t.Errorf("%+v", r)
	}
}

// SARIF by the rules of its schema that consumers depend on.
func TestVerifySARIF(t *testing.T) {
	out, _, code := prove(t, "verify", "-f", put(t, "checks.yaml", dmzChecks), dmzTemplate, "-o", "sarif")
	var v struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct {
						ID               string
						ShortDescription struct{ Text string }
					}
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex *int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine int }
					}
				}
			}
		}
	}
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || code != 1 {
		t.Fatalf("%v, exit %d\n%s", err, code, out)
	}
	if !strings.HasSuffix(v.Schema, "sarif-2.1.0.json") || v.Version != "2.1.0" || len(v.Runs) != 1 || v.Runs[0].Tool.Driver.Name == "" || len(v.Runs[0].Results) != 2 {
		t.Fatalf("%+v", v)
	}
	rules := v.Runs[0].Tool.Driver.Rules
	for _, r := range v.Runs[0].Results {
		if r.RuleIndex == nil || *r.RuleIndex < 0 || *r.RuleIndex >= len(rules) || rules[*r.RuleIndex].ID != r.RuleID || rules[*r.RuleIndex].ShortDescription.Text == "" {
			t.Errorf("rule of %+v", r)
		}
		if r.Level != "error" || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Errorf("%+v", r)
		}
		p := r.Locations[0].PhysicalLocation
		if p.ArtifactLocation.URI == "" || strings.ContainsAny(p.ArtifactLocation.URI, " \\") || p.Region == nil || p.Region.StartLine < 1 {
			t.Errorf("place %+v", p)
		}
	}
	if at := v.Runs[0].Results[0].Locations[0].PhysicalLocation; at.ArtifactLocation.URI != dmzTemplate || at.Region.StartLine != 77 {
		t.Errorf("the rule that lets it in is at line 77: %+v", at)
	}
}

func TestVerifyJUnit(t *testing.T) {
	bad := put(t, "bad.json", "{")
	dir := filepath.Dir(bad)
	text, err := os.ReadFile(dmzTemplate)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dmz.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "results.xml")
	out, errOut, code := prove(t, "verify", "-f", put(t, "checks.yaml", dmzChecks), dir, "--junit", file)
	if code != 3 || !strings.Contains(out, "VIOLATED  no-rdp-from-internet") || !strings.Contains(errOut, "bad.json:1: it is no valid JSON") {
		t.Errorf("a bad file is told and hides nothing: exit %d\n%s%s", code, out, errOut)
	}
	text, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	var s junitSuite
	if err := xml.Unmarshal(text, &s); err != nil || s.Tests != 4 || s.Failures != 2 || s.Errors != 1 || len(s.Cases) != 4 {
		t.Errorf("%v: %+v", err, s)
	}
	if c := s.Cases[1]; c.Failure == nil || c.Line != 9 || !strings.Contains(c.Failure.Text, "FE_NSG/rdp_rule") {
		t.Errorf("%+v", c)
	}
}

const azNetwork = "../intent/load/testdata/az.json"

// What is not known is never a pass: not a tag, not a route, not a public address; and it is told by name and line.
func TestVerifyUnknown(t *testing.T) {
	checks := func(assert string) string {
		return put(t, "checks.yaml", "version: 1\nzones: {web: {subnet: v/web}, db: {subnet: v/db}, out: {cidr: 10.9.0.0/16}}\nassert:\n- {id: x, "+assert+"}\n")
	}
	for _, c := range []struct {
		name, assert string
		code         int
		want         string
	}{
		{"a tag decides", "none: {from: web, to: out, proto: tcp, dport: 443}", 2, "the service tag Storage.WestEurope"},
		{"a route table is on the way", "all: {from: db, to: web, proto: tcp, dport: 22}", 2, "its route table rt is not modelled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errOut, code := prove(t, "verify", "-f", checks(c.assert), azNetwork)
			if code != c.code || !strings.Contains(out, c.want) || !strings.Contains(out, "UNKNOWN   x") {
				t.Errorf("exit %d\n%s%s", code, out, errOut)
			}
		})
	}
}

// Every class of bad input is said, and the exit code is 3.
func TestVerifyBadInput(t *testing.T) {
	good := put(t, "checks.yaml", dmzChecks)
	head := "version: 1\nzones: {fe: {subnet: FESubnet}, no: {subnet: Nowhere}}\nassert:\n"
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no checks", []string{"verify", "-f", "missing.yaml", dmzTemplate}, "read the checks: open missing.yaml"},
		{"no source", []string{"verify", "-f", good, "missing.json"}, "missing.json"},
		{"checks that say nothing", []string{"verify", "-f", put(t, "c.yaml", "version: 1\n"), dmzTemplate}, "no assertion: nothing is checked"},
		{"a zone that is empty", []string{"verify", "-f", put(t, "c.yaml", head+"- {id: x, none: {to: fe}}"), dmzTemplate}, `subnet "Nowhere"`},
		{"a fault in the checks", []string{"verify", "-f", put(t, "c.yaml", head+"- {id: x, none: {too: fe}}"), dmzTemplate}, "c.yaml:4: assert[0].none.too: unknown"},
		{"an empty directory", []string{"lint", t.TempDir()}, "holds no JSON file"},
		{"a template that is no JSON", []string{"lint", put(t, "t.json", `{"$schema":"x/deploymentTemplate.json#",`)}, "t.json:1"},
		{"words", []string{"verify", dmzTemplate}, "missing flags: --file=FILE"},
		{"words of diff", []string{"diff"}, "expected"},
		{"a format", []string{"lint", dmzTemplate, "-o", "junit"}, "-o junit"},
		{"an end", []string{"explain", "FESubnet", "nobody", dmzTemplate}, `"nobody" is no machine, interface, subnet`},
		{"a port", []string{"explain", "FESubnet", "DBSubnet", dmzTemplate, "--port", "x"}, "--port x"},
		{"a difference without another source", []string{"verify", "-f", put(t, "c.yaml", "version: 1\nzones: {fe: {subnet: FESubnet}}\nassert:\n- {id: x, diff: {never-more-open: fe}}"), dmzTemplate}, "no other network to compare with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errOut, code := prove(t, c.args...)
			if code != 3 || !strings.Contains(errOut, c.want) {
				t.Errorf("exit %d, want 3 and %q\n%s%s", code, c.want, out, errOut)
			}
		})
	}
}

// What init proposes holds, and a rule more breaks it.
func TestInitHolds(t *testing.T) {
	for _, template := range []string{dmzTemplate, exampleTemplate} {
		proposed, errOut, code := prove(t, "verify", "init", template)
		if code != 0 {
			t.Fatalf("exit %d\n%s", code, errOut)
		}
		checks := put(t, "checks.yaml", proposed)
		if out, errOut, code := prove(t, "verify", "-f", checks, template); code != 0 {
			t.Errorf("%s: exit %d\n%s%s\n%s", template, code, out, errOut, proposed)
		}
		if template != dmzTemplate {
			continue
		}
		text, _ := os.ReadFile(template)
		changed := put(t, "changed.json", strings.Replace(string(text), `"access": "Deny"`, `"access": "Allow"`, 1))
		if out, _, code := prove(t, "verify", "-f", checks, changed); code != 1 {
			t.Errorf("exit %d\n%s", code, out)
		}
	}
}

func TestDiff(t *testing.T) {
	text, err := os.ReadFile(exampleTemplate)
	if err != nil {
		t.Fatal(err)
	}
	wider := put(t, "new.json", strings.Replace(string(text), `"8443"`, `"8000-8443"`, 1))
	out, errOut, code := prove(t, "diff", exampleTemplate, wider, "-f", exampleChecks)
	if code != 0 || !strings.Contains(out, "+ allowed  tcp from ") || !strings.Contains(out, "port 8000-8442") ||
		!strings.Contains(out, "before app-nsg/deny-vnet  "+exampleTemplate+":151, now app-nsg/allow-web  "+wider+":99") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if _, _, code := prove(t, "diff", exampleTemplate, wider, "-f", exampleChecks, "--exit-code"); code != 1 {
		t.Errorf("--exit-code: %d", code)
	}
	if out, _, code := prove(t, "diff", exampleTemplate, exampleTemplate, "-f", exampleChecks); code != 0 || out != "No packet changes.\n" {
		t.Errorf("exit %d: %s", code, out)
	}
	reordered := put(t, "reordered.json", strings.Replace(string(text), `"priority": 100,`, `"priority": 101,`, 1))
	if out, _, _ := prove(t, "diff", exampleTemplate, reordered, "-f", exampleChecks); !strings.HasPrefix(out, "No packet changes, although rules changed in ") {
		t.Error(out)
	}
	against := put(t, "checks.yaml", strings.Replace(string(readText(t, exampleChecks)), "assert:\n", "assert:\n- id: app-stays-closed\n  diff: {never-more-open: app}\n", 1))
	if out, _, code := prove(t, "verify", "-f", against, wider, "--against", exampleTemplate); code != 1 || !strings.Contains(out, "VIOLATED  app-stays-closed") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func readText(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestLint(t *testing.T) {
	out, errOut, code := prove(t, "lint", dmzTemplate)
	if code != 1 || !strings.HasPrefix(out, dmzTemplate+":77: error exposed FE_NSG/rdp_rule (inbound 100): ") || !strings.Contains(out, "CKV_AZURE_9") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	off := put(t, "checks.yaml", "version: 1\nlint: {exposed: off}\n")
	if out, _, code := prove(t, "lint", dmzTemplate, "-f", off); code != 0 {
		t.Errorf("a finding that is off: exit %d\n%s", code, out)
	}
	out, _, _ = prove(t, "lint", dmzTemplate, "-o", "sarif")
	if !strings.Contains(out, `"startLine": 77`) || !json.Valid([]byte(out)) {
		t.Error(out)
	}
}

func TestExplain(t *testing.T) {
	out, errOut, code := prove(t, "explain", "web1", "db1", exampleTemplate, "-f", exampleChecks, "--protocol", "tcp", "--port", "1433")
	same(t, "blocked", out, `Denied: no such packet arrives.

blocked tcp 10.0.1.4:50000 > 10.0.3.4:1433   (web1 → db1)
  outbound subnet  allow  web-nsg/AllowVnetOutBound (default)
  inbound subnet   deny   db-nsg/deny-vnet  ../examples/three-tier/template.json:216
  all such: tcp from 10.0.1.4 to 10.0.3.4 port 1433
  blocked in 1 place.
  to open it: in db-nsg, a rule before deny-vnet: Inbound, priority 3999, Allow Tcp from 10.0.1.4 to 10.0.3.4 port 1433
`)
	if code != 1 || errOut != "" {
		t.Errorf("exit %d %s", code, errOut)
	}
	if out, _, code := prove(t, "explain", "app1", "db1", exampleTemplate, "-f", exampleChecks, "--protocol", "tcp", "--port", "1433"); code != 0 || !strings.HasPrefix(out, "Allowed: every such packet arrives.\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestMatrixAndCoverage(t *testing.T) {
	out, _, code := prove(t, "verify", "matrix", "-f", exampleChecks, exampleTemplate)
	for _, want := range []string{"app    db     tcp/1433\n", "web    app    tcp/8443 udp/6000 icmp\n", "web    db     -\n", "db     db     everything\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	out, _, _ = prove(t, "verify", "matrix", "-f", exampleChecks, exampleTemplate, "--ports", "22,1433")
	if !strings.Contains(out, "app    db     tcp/22 none  tcp/1433 all\n") {
		t.Error(out)
	}
	out, _, code = prove(t, "verify", "coverage", "-f", exampleChecks, exampleTemplate)
	if code != 1 || !strings.Contains(out, "not touched  web-nsg/allow-web-from-internet  "+exampleTemplate+":60\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
