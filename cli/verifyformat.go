package cli

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"

	"ringfence/intent/load"
	"ringfence/verify"
)

// resultValue is a result as JSON has it.
type resultValue struct {
	ID       string        `json:"id"`
	Status   string        `json:"status"`
	Line     int           `json:"line,omitempty"`
	Text     string        `json:"text"`
	Unknown  []string      `json:"unknown,omitempty"`
	Packet   *packetValue  `json:"packet,omitempty"`
	Path     []hopValue    `json:"path,omitempty"`
	Packets  string        `json:"packets,omitempty"`
	Pairs    int           `json:"pairs,omitempty"`
	Assumed  string        `json:"assumed,omitempty"`
	Fix      []string      `json:"fix,omitempty"`
	Changes  []changeValue `json:"changes,omitempty"`
	Severity string        `json:"-"`
}

type packetValue struct {
	Source          string  `json:"source"`
	Destination     string  `json:"destination"`
	Protocol        uint8   `json:"protocol"`
	SourcePort      *uint16 `json:"sourcePort,omitempty"`
	DestinationPort *uint16 `json:"destinationPort,omitempty"`
	ICMPType        *uint8  `json:"icmpType,omitempty"`
	From            string  `json:"from,omitempty"`
	To              string  `json:"to,omitempty"`
	Text            string  `json:"text"`
}

type hopValue struct {
	Layer     string `json:"layer"`
	Direction string `json:"direction,omitempty"`
	Level     string `json:"level,omitempty"`
	Verdict   string `json:"verdict"`
	Rule      string `json:"rule,omitempty"`
	Reason    string `json:"reason,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
}

func packetOf(p *verify.Packet) *packetValue {
	if p == nil {
		return nil
	}
	v := &packetValue{Source: p.Src.String(), Destination: p.Dst.String(), Protocol: p.Protocol, From: p.From, To: p.To, Text: p.String()}
	switch p.Protocol {
	case 6, 17:
		v.SourcePort, v.DestinationPort = &p.SrcPort, &p.DstPort
	case 1, 58:
		v.ICMPType = &p.ICMPType
	}
	return v
}

func (n *networkText) path(hops []verify.Hop) []hopValue {
	var out []hopValue
	for _, h := range hops {
		v := hopValue{Layer: h.Layer, Verdict: "Deny"}
		if h.Allow {
			v.Verdict = "Allow"
		}
		if h.Layer == "acl" {
			at := n.stands(h.By.ID())
			v.Direction, v.Level, v.Rule, v.File, v.Line = h.Direction.String(), h.Level, h.By.ID(), at.File, at.Line
		} else if !h.Allow {
			v.Reason = h.By.Reason.String()
		}
		out = append(out, v)
	}
	return out
}

// value is what -o json prints.
func (f *answered) value() any {
	out := struct {
		Checks   string         `json:"checks"`
		Results  []resultValue  `json:"results"`
		Faults   []faultValue   `json:"faults"`
		Unknowns []unknownValue `json:"unknowns"`
		Assumed  []string       `json:"assumed"`
	}{Checks: f.checks.Name, Results: []resultValue{}, Faults: faultsOf(f.network.Source), Unknowns: unknownsOf(f.network.Source), Assumed: []string{}}
	for i := range f.results {
		out.Results = append(out.Results, f.result(&f.results[i]))
	}
	out.Assumed = append(out.Assumed, sortedKeys(f.network.Source.Assumed)...)
	return out
}

func (f *answered) result(r *verify.Result) resultValue {
	v := resultValue{ID: r.ID, Status: r.Status.String(), Line: f.checks.Lines[r.ID], Text: r.Text, Unknown: r.Unknown, Packet: packetOf(r.Witness),
		Path: f.network.path(r.Hops), Pairs: r.Pairs, Assumed: r.Assumed}
	if r.Box != nil {
		v.Packets = r.Box.String()
	}
	for _, e := range r.Fix {
		v.Fix = append(v.Fix, editText(e))
	}
	for i := range r.Changes {
		v.Changes = append(v.Changes, f.network.change(&r.Changes[i]))
	}
	return v
}

type faultValue struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"`
	ID    string `json:"id,omitempty"`
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

type unknownValue struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Text string `json:"text"`
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
}

func faultsOf(s *load.Source) []faultValue {
	out := []faultValue{}
	for _, f := range s.Faults {
		out = append(out, faultValue{f.At.File, f.At.Line, f.ID, f.Field, f.Text})
	}
	return out
}

func unknownsOf(s *load.Source) []unknownValue {
	out := []unknownValue{}
	for _, u := range s.Unknowns {
		out = append(out, unknownValue{u.Kind, u.ID, u.What, u.At.File, u.At.Line})
	}
	return out
}

// blame is the place that a result is about: the rule that decided about the packet, else the assertion.
func (f *answered) blame(r *verify.Result) load.Place {
	var at load.Place
	for _, h := range r.Hops {
		if h.Layer != "acl" {
			continue
		}
		if p := f.network.stands(h.By.ID()); p.Line > 0 && (at.Line == 0 || !h.Allow) {
			at = p
		}
	}
	if at.Line == 0 {
		return load.Place{File: f.checks.Name, Line: f.checks.Lines[r.ID]}
	}
	return at
}

// story is a result in several lines of plain text.
func (f *answered) story(r *verify.Result) string {
	var b strings.Builder
	p := &painter{w: &b}
	p.printf("%s\n", f.said(r))
	f.details(p, r)
	return strings.TrimSpace(b.String())
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Error   *junitMessage `xml:"error"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// junitOf writes the results as JUnit XML: a violation is a failure, what is unknown or could not be read an error.
func junitOf(f *answered) ([]byte, error) {
	s := junitSuite{Name: f.checks.Name, Time: "0"}
	for i := range f.results {
		r := &f.results[i]
		c := junitCase{Name: r.ID, Class: f.checks.Name, File: f.checks.Name, Line: f.checks.Lines[r.ID], Time: "0"}
		switch m := (&junitMessage{clean(r.Text), r.Status.String(), clean(f.story(r))}); r.Status {
		case verify.Violated:
			c.Failure = m
			s.Failures++
		case verify.Unknown:
			c.Error = m
			s.Errors++
		}
		s.Cases = append(s.Cases, c)
	}
	for _, x := range f.network.Source.Faults {
		s.Errors++
		s.Cases = append(s.Cases, junitCase{Name: "read " + clean(x.At.String()), Class: f.checks.Name, File: x.At.File, Line: x.At.Line, Time: "0",
			Error: &junitMessage{clean(x.Text), "bad input", clean(x.Error())}})
	}
	s.Tests = len(s.Cases)
	text, err := xml.MarshalIndent(s, "", "  ")
	return append([]byte(xml.Header), append(text, '\n')...), err
}

// clean leaves out what XML cannot hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, s)
}

// finding is one line of SARIF.
type finding struct {
	rule, level, text string
	at                load.Place
}

// sarifOf writes the results as SARIF 2.1.0: what holds is left out.
func sarifOf(f *answered) ([]byte, error) {
	rules := map[string]string{}
	var out []finding
	for i := range f.results {
		r := &f.results[i]
		rules[r.ID] = "assertion " + r.ID + " of " + f.checks.Name
		switch r.Status {
		case verify.Violated:
			out = append(out, finding{r.ID, "error", f.story(r), f.blame(r)})
		case verify.Unknown:
			out = append(out, finding{r.ID, "warning", f.story(r), load.Place{File: f.checks.Name, Line: f.checks.Lines[r.ID]}})
		}
	}
	for _, x := range f.network.Source.Faults {
		rules["bad-input"] = "something could not be read"
		out = append(out, finding{"bad-input", "error", x.Text, x.At})
	}
	return sarif(rules, out)
}

// sarif writes findings in that format.
func sarif(rules map[string]string, found []finding) ([]byte, error) {
	type text map[string]string
	type object = map[string]any
	list, index := []object{}, map[string]int{}
	for i, id := range sortedKeys(rules) {
		index[id] = i
		list = append(list, object{"id": id, "shortDescription": text{"text": rules[id]}})
	}
	results := []object{}
	for _, f := range found {
		location := object{"artifactLocation": object{"uri": uri(f.at.File)}}
		if f.at.Line > 0 {
			location["region"] = object{"startLine": f.at.Line}
		}
		results = append(results, object{"ruleId": f.rule, "ruleIndex": index[f.rule], "level": f.level, "message": text{"text": f.text},
			"locations": []object{{"physicalLocation": location}}})
	}
	out, err := json.MarshalIndent(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{"tool": object{"driver": object{"name": "ringfence", "rules": list}}, "results": results}},
	}, "", "  ")
	return append(out, '\n'), err
}

// uri is a file's name as a reference: relative as it was given, with forward slashes, what is special in it escaped.
func uri(file string) string {
	var b strings.Builder
	for i := range len(file) {
		switch c := file[i]; {
		case c == '\\':
			b.WriteByte('/')
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
