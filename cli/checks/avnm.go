package checks

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence/verify"
)

// isIntent: a reachability intent of Azure Virtual Network Manager, or a list of them as its API answers.
func isIntent(n *yaml.Node) bool {
	list := []*yaml.Node{n}
	if v := get(n, "value"); v != nil {
		n = v
	}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	for _, e := range list {
		if get(e, "sourceResourceId") == nil && get(e, "properties", "sourceResourceId") == nil {
			return false
		}
	}
	return len(list) > 0
}

func get(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var found *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if strings.EqualFold(n.Content[i].Value, name) {
				found = n.Content[i+1]
			}
		}
		n = found
	}
	return n
}

// intents reads them: what such an intent asks is whether some packet of its traffic arrives.
func (r *reader) intents(n *yaml.Node) {
	if v := get(n, "value"); v != nil {
		n = v
	}
	list, paths := []*yaml.Node{n}, []string{""}
	if n.Kind == yaml.SequenceNode {
		list, paths = n.Content, nil
		for i := range n.Content {
			paths = append(paths, fmt.Sprintf("[%d]", i))
		}
	}
	for i, e := range list {
		r.intent(e, paths[i], i)
	}
}

func (r *reader) intent(n *yaml.Node, path string, i int) {
	props := get(n, "properties")
	at := join(path, "properties")
	if props == nil {
		props, at = n, path
	}
	a := verify.Assertion{ID: fmt.Sprintf("intent-%d", i+1), Some: &verify.Traffic{}}
	if name := get(n, "name"); name != nil && name.Value != "" {
		a.ID = name.Value
	}
	a.Some.From = r.end(props, at, "sourceResourceId", a.ID+" source")
	a.Some.To = r.end(props, at, "destinationResourceId", a.ID+" destination")
	r.fields(props, at, map[string]func(*yaml.Node, string){
		"sourceResourceId": skip, "destinationResourceId": skip, "description": skip, "provisioningState": skip,
		"ipTraffic": func(n *yaml.Node, path string) { r.ipTraffic(n, path, a.Some) },
	})
	r.file.Lines[a.ID] = n.Line
	r.file.Checks.Assert = append(r.file.Checks.Assert, a)
}

func skip(*yaml.Node, string) {}

func (r *reader) ipTraffic(n *yaml.Node, path string, t *verify.Traffic) {
	any := func(read func(*yaml.Node, string)) func(*yaml.Node, string) { // "*" and an empty list mean any
		return func(n *yaml.Node, path string) {
			if n.Kind == yaml.SequenceNode && (len(n.Content) == 0 || len(n.Content) == 1 && n.Content[0].Value == "*") {
				return
			}
			read(n, path)
		}
	}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"sourceIps": any(r.prefixes(&t.Src)), "destinationIps": any(r.prefixes(&t.Dst)),
		"sourcePorts": any(r.ports(&t.SrcPorts)), "destinationPorts": any(r.ports(&t.DstPorts)),
		"protocols": any(func(n *yaml.Node, path string) {
			r.texts(n, path, func(n *yaml.Node, path, s string) {
				p, ok := protocols[strings.ToLower(s)]
				if !ok {
					r.bad(n, path, "%q is no protocol: expected Any, TCP, UDP or ICMP", s)
				}
				t.Protocols = append(t.Protocols, p...)
			})
		}),
	})
}

// end makes a zone of a resource id of an intent; an id that ends in /internet is the Internet.
func (r *reader) end(props *yaml.Node, path, field, zone string) string {
	n := get(props, field)
	if n == nil || n.Value == "" {
		r.bad(props, join(path, field), "it is missing")
		return ""
	}
	var z verify.Zone
	switch low := strings.ToLower(n.Value); {
	case low == "internet" || strings.HasSuffix(low, "/internet"):
		z.Tags = []string{"Internet"}
	case !zoneByID(&z, n.Value):
		r.bad(n, join(path, field), "%q is no id of a virtual machine, a subnet or the Internet", n.Value)
	}
	r.file.Checks.Zones[zone] = z
	return zone
}
