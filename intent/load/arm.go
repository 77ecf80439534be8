package load

import (
	"encoding/json"
	"errors"
	"path"
	"strings"

	"ringfence/intent/resource"
	"ringfence/intent/template"
)

// templateFile is a template that waits until all parameter files were read. root is nil for text that only the template engine reads.
type templateFile struct {
	file File
	root *node
}

func isTemplate(n *node) bool {
	return strings.Contains(strings.ToLower(n.get("$schema").str()), "deploymenttemplate.json") || n.get("resources") != nil && n.get("contentVersion") != nil
}

func isParameters(n *node) bool {
	return strings.Contains(strings.ToLower(n.get("$schema").str()), "deploymentparameters.json") || n.get("parameters") != nil && n.get("contentVersion") != nil
}

// looksLikeTemplate: the text names the schema, although it is not strict JSON.
func (l *loader) looksLikeTemplate(f File) bool {
	head := strings.ToLower(string(f.Text[:min(len(f.Text), 4096)]))
	return strings.Contains(head, "deploymenttemplate.json")
}

// parameterFile reads values. One that lies in a key vault is not known, and neither is what depends on it.
func (l *loader) parameterFile(f File, root *node) {
	values := map[string]json.RawMessage{}
	list := root.get("parameters")
	if list == nil || list.kind != kindObject {
		l.fault(Place{f.Name, root.line}, "", "parameters", "a parameter file has an object of parameters")
		return
	}
	for _, m := range list.members {
		v := m.value.get("value")
		switch {
		case v != nil:
			values[m.name] = v.append(nil)
		case m.value.get("reference") == nil && m.value.kind == kindObject && len(m.value.members) > 0:
			values[m.name] = json.RawMessage("null")
		case m.value.get("reference") == nil:
			l.fault(Place{f.Name, m.value.line}, "", "parameters."+m.name, "the parameter has no value")
		}
	}
	l.values[f.Name] = values
}

func (l *loader) templateFaults(file string, err error) {
	var list template.Faults
	if !errors.As(err, &list) {
		l.fault(Place{file, 0}, "", "", "%v", err)
		return
	}
	for _, f := range list {
		l.fault(Place{file, f.Line}, "", f.Path, "%s", f.Message)
	}
}

// templates expands the templates, each with the parameter file beside it that has its name.
func (l *loader) templates() {
	for _, t := range l.pending {
		parsed, err := template.Parse(t.file.Text)
		if err != nil {
			l.templateFaults(t.file.Name, err)
			continue
		}
		l.template(t.file.Name, parsed, l.parametersOf(t.file.Name, parsed))
	}
	l.pending = nil
}

// parametersOf are the values for a template: those of its parameter file (a.parameters.json beside a.json, or the only one there is for the
// only template), and over them those that were given.
func (l *loader) parametersOf(name string, t *template.Template) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	base := strings.TrimSuffix(name, path.Ext(name))
	for file, values := range l.values {
		own := strings.EqualFold(strings.TrimSuffix(strings.TrimSuffix(file, path.Ext(file)), ".parameters"), base)
		if own || len(l.values) == 1 && len(l.pending) == 1 {
			for k, v := range values {
				out[k] = v
			}
		}
	}
	for given, v := range l.o.Parameters {
		for _, p := range t.Parameters() {
			if strings.EqualFold(p.Name, given) {
				for k := range out {
					if strings.EqualFold(k, given) {
						delete(out, k)
					}
				}
				out[p.Name] = v
			}
		}
	}
	return out
}

// template takes what can be evaluated of a template.
func (l *loader) template(file string, t *template.Template, params map[string]json.RawMessage) {
	group := resource.GroupID(l.o.Subscription, l.o.Group)
	l.inGroups[group.Key()] = l.o.Location
	plan, faults := template.ExpandPartly(t, params, template.Env{
		Tenant: "00000000-0000-0000-0000-000000000000", Subscription: l.o.Subscription, SubscriptionName: "local",
		Group: l.o.Group, Location: l.o.Location, Deployment: "local",
		KnownType: func(name string) (string, bool) {
			if r := resource.Find(name); r != nil {
				return r.Name, true
			}
			return name, true
		},
	})
	for i := range plan.Resources {
		l.planned(file, t, &plan.Resources[i], faults)
	}
	for _, lost := range plan.Lost {
		l.unknown(Unknown{Kind: KindResource, ID: lost.Type, Touches: touched(lost.Type), At: Place{file, t.Line(lost.Path)},
			What: "its name or how many there are is not known: " + because(faults, lost.Path)})
	}
	for _, f := range faults {
		if !ofSome(plan, f.Path) && strings.HasPrefix(f.Path, "parameters.") && f.Line == 0 { // a value for a parameter that is not there
			l.fault(Place{file, 0}, "", f.Path, "%s", f.Message)
		}
	}
}

// because is the first fault at or under a path.
func because(faults template.Faults, path string) string {
	for _, f := range faults {
		if under(f.Path, path) {
			return f.Message
		}
	}
	for _, f := range faults {
		if strings.HasPrefix(f.Path, "parameters.") || strings.HasPrefix(f.Path, "variables.") {
			return f.Message
		}
	}
	return "it is known only when the template is deployed"
}

func under(p, path string) bool {
	return p == path || strings.HasPrefix(p, path) && strings.IndexByte(".[", p[len(path)]) >= 0
}

func ofSome(plan *template.Plan, path string) bool {
	for i := range plan.Resources {
		if under(path, plan.Resources[i].Path) {
			return true
		}
	}
	return false
}

// planned adds one resource of a template.
func (l *loader) planned(file string, t *template.Template, p *template.Resource, faults template.Faults) {
	at := Place{file, t.Line(p.Path)}
	id, err := resource.ParseID(p.ID)
	if err != nil || strings.Contains(p.ID, template.Unknown) {
		l.unknown(Unknown{Kind: KindResource, ID: p.Type, Touches: touched(p.Type), At: at, What: "its name is not known: " + because(faults, p.Path)})
		return
	}
	r := &raw{id: id, at: at, template: true, line: func(field string) int { return t.Line(p.Path + "." + field) }}
	if p.Doubtful {
		l.unknown(Unknown{Kind: KindResource, ID: p.ID, Touches: append(touched(p.Type), parentKeys(id)...), At: at,
			What: "whether it is deployed is not known: " + because(faults, p.Path+".condition")})
		return
	}
	body, err := parseJSON(p.Body)
	if err != nil || body.kind != kindObject {
		l.unknown(Unknown{Kind: KindResource, ID: p.ID, Touches: append(touched(p.Type), parentKeys(id)...), At: at, What: "its body is not known: " + because(faults, p.Path)})
		return
	}
	if strings.EqualFold(p.Type, "Microsoft.Resources/deployments") {
		l.nestedDeployment(file, t, p, body)
		return
	}
	unstring(body)
	body.set("name", text(id.Name(), at.Line))
	r.body = nested(body, id.Type)
	reline(r.body, "", r.line)
	l.add(r)
}

// parentKeys is the document that a child is in.
func parentKeys(id resource.ID) []string {
	if top := id.Top(); len(id.Names) > 1 {
		return []string{top.Key()}
	}
	return nil
}

// touched is what a resource of a type whose name or body is not known may concern.
func touched(typ string) []string {
	switch strings.ToLower(typ) {
	case "microsoft.network/virtualnetworks", "microsoft.network/networksecuritygroups", "microsoft.network/networksecuritygroups/securityrules",
		"microsoft.network/virtualnetworks/subnets", "microsoft.network/virtualnetworks/virtualnetworkpeerings", "microsoft.network/networkinterfaces",
		"microsoft.network/applicationsecuritygroups", "microsoft.resources/deployments", "microsoft.network/routetables", "microsoft.compute/virtualmachinescalesets",
		"microsoft.network/networkmanagers", "microsoft.network/virtualnetworkgateways", "":
		return []string{Everything}
	}
	return nil
}

// unstring turns the text that stands for a value that is not known into the kind of its own.
func unstring(n *node) {
	for _, e := range n.items {
		unstring(e)
	}
	for _, m := range n.members {
		unstring(m.value)
	}
	if n.kind == kindString && strings.Contains(n.text, template.Unknown) {
		n.kind = kindUnknown
	}
}

// reline gives every value the line of the template at which it stands, as far as it stands there literally.
func reline(n *node, at string, line func(string) int) {
	n.line = line(at)
	for i, e := range n.items {
		reline(e, at+"["+itoa(i)+"]", line)
	}
	for _, m := range n.members {
		reline(m.value, strings.TrimPrefix(at+"."+m.name, "."), line)
	}
}

// nestedDeployment takes the template inside a deployment; one that is only linked to is not known.
func (l *loader) nestedDeployment(file string, t *template.Template, p *template.Resource, body *node) {
	at := Place{file, t.Line(p.Path)}
	what := "the template that it deploys is not in the file"
	if link := body.get("properties", "templateLink", "uri"); link != nil {
		what += ": " + strings.ReplaceAll(link.str(), template.Unknown, "…")
	}
	if body.get("properties", "template") != nil {
		what = "a template inside a template is not read"
	}
	l.unknown(Unknown{Kind: KindResource, ID: p.ID, What: what, Touches: []string{Everything}, At: at})
}
