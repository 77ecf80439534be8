package load

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ringfence/intent/resource"
)

// decode makes the document of a resource. What the type table does not support becomes an Unknown, what is wrong a Fault; the innermost
// part that is concerned (a rule, a subnet, the resource) is left out and named. nil when nothing is left.
func (l *loader) decode(r *raw) *resource.Doc {
	t := resource.Find(r.id.Type)
	r.body = l.essential(r)
	l.unknownValues(r)
	if r.body == nil {
		return nil
	}
	if t.Name == "Microsoft.Network/networkSecurityGroups" {
		l.tags(r)
	}
	for range 1000 { // every turn takes something out
		body := r.body.append(nil)
		normal, faults := resource.Decode(t, body)
		if len(faults) == 0 {
			return document(r, normal)
		}
		for _, f := range reversed(faults) {
			if r.body == nil {
				return nil
			}
			l.undecoded(r, f)
		}
		if r.body == nil {
			return nil
		}
		if string(r.body.append(nil)) == string(body) {
			l.discard(r, "", KindResource, "it could not be read")
			return nil
		}
	}
	return nil
}

// document makes a document. A network's keeps its tree: every interface in it looks there for its subnet.
func document(r *raw, body []byte) *resource.Doc {
	if r.id.Type == "Microsoft.Network/virtualNetworks" {
		if d, faults := resource.Put(nil, r.id, body, ""); len(faults) == 0 {
			return d
		}
	}
	return resource.NewDoc(r.id, body)
}

// reversed goes from the end of the document to its beginning, so that taking out an element moves no other that is still to come.
func reversed(faults resource.Faults) []resource.Fault {
	var all []resource.Fault
	for _, f := range faults {
		if len(f.Details) > 0 && f.Code == "InvalidRequestFormat" {
			all = append(all, f.Details...)
			continue
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b resource.Fault) int { return comparePaths(b.Target, a.Target) })
	return all
}

func comparePaths(a, b string) int {
	x, y := steps(a), steps(b)
	for i := range min(len(x), len(y)) {
		m, err1 := strconv.Atoi(x[i])
		n, err2 := strconv.Atoi(y[i])
		if err1 == nil && err2 == nil && m != n {
			return m - n
		}
		if c := strings.Compare(x[i], y[i]); c != 0 && (err1 != nil || err2 != nil) {
			return c
		}
	}
	return len(x) - len(y)
}

func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// at walks a path as far as it goes.
func (n *node) at(path string) (deepest *node, whole bool) {
	for _, s := range steps(path) {
		next := n.get(s)
		if i, err := strconv.Atoi(s); err == nil && n.kind == kindArray && i < len(n.items) {
			next = n.items[i]
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// remove takes out what stands at a path.
func (n *node) remove(path string) {
	s := steps(path)
	if len(s) == 0 {
		return
	}
	up, last := path[:strings.LastIndex(path, s[len(s)-1])], s[len(s)-1]
	parent, ok := n.at(strings.TrimRight(up, ".["))
	if !ok {
		return
	}
	if i, err := strconv.Atoi(last); err == nil && parent.kind == kindArray {
		if i < len(parent.items) {
			parent.items = slices.Delete(parent.items, i, i+1)
		}
		return
	}
	parent.drop(last)
}

func (r *raw) place(path string) Place {
	if r.body == nil {
		return r.at
	}
	n, _ := r.body.at(path)
	return Place{r.at.File, n.line}
}

var inElement = regexp.MustCompile(`(?i)^properties\.(securityRules|subnets|ipConfigurations)\[(\d+)\]`)

// element is the child that a path leads into: its own path, its list and its name.
func (r *raw) element(path string) (at, list, name string) {
	m := inElement.FindStringSubmatch(path)
	if m == nil || r.body == nil {
		return "", "", ""
	}
	n, _ := r.body.at(m[0])
	return m[0], m[1], n.get("name").str()
}

// undecoded deals with one fault of Decode.
func (l *loader) undecoded(r *raw, f resource.Fault) {
	if f.Code == resource.NotSupported {
		l.unsupported(r, f.Target)
		r.body.remove(f.Target)
		return
	}
	_, there := r.body.at(f.Target)
	if there && strings.HasPrefix(f.Message, "Could not find member") {
		if at, list, name := r.element(f.Target); strings.EqualFold(list, "securityRules") && strings.HasPrefix(f.Target, at+".properties.") && !harmlessNew(f.Target) {
			l.unknown(Unknown{Kind: KindRule, ID: r.id.String() + "/securityRules/" + name, Touches: []string{r.id.Key()}, At: r.place(f.Target),
				What: "the rule has the field " + f.Target[strings.LastIndexByte(f.Target, '.')+1:] + ", which is not known"})
		}
		r.body.remove(f.Target)
		return
	}
	msg, _, _ := strings.Cut(f.Message, " Path '")
	l.fault(r.place(f.Target), r.id.String(), f.Target, "%s", msg)
	l.discard(r, f.Target, KindRule, "it could not be read: "+msg)
}

// harmlessNew are members that clients show in rules and that do not change what they match.
func harmlessNew(path string) bool {
	switch strings.ToLower(path[strings.LastIndexByte(path, '.')+1:]) {
	case "provisioningstate", "etag", "resourcegroup", "resourceguid", "type", "id", "name":
		return true
	}
	return false
}

// discard leaves out the innermost part that a path leads into, and names it.
func (l *loader) discard(r *raw, path, kind, why string) {
	at, list, name := r.element(path)
	place := r.place(path)
	u := Unknown{Kind: kind, ID: r.id.String(), What: why, Touches: []string{r.id.Key()}, At: place}
	switch {
	case strings.EqualFold(list, "securityRules"):
		u.ID += "/securityRules/" + name
		r.body.remove(at)
	case strings.EqualFold(list, "subnets"):
		u.Kind, u.ID = KindResource, u.ID+"/subnets/"+name
		u.Touches = append(u.Touches, u.ID)
		r.body.remove(at)
	default:
		u.Kind = KindResource
		if r.id.Type != "Microsoft.Compute/virtualMachines" {
			u.Touches = append(u.Touches, Everything)
		}
		r.body = nil
	}
	l.unknown(u)
}

// unsupportedFields says what a field means that the fabric does not enforce; the path is without its numbers.
var unsupportedFields = []struct{ end, kind, what string }{
	{"routetable", KindRoute, "its route table %s is not modelled: packets may be sent elsewhere or dropped"},
	{"natgateway", "", ""}, {"serviceendpoints", "", ""}, {"serviceendpointpolicies", "", ""}, {"internaldnsnamelabel", "", ""}, {"extendedlocation", "", ""},
	{"ddosprotectionplan", "", ""}, {"enableddosprotection", "", ""}, {"bgpcommunities", "", ""}, {"ipamPoolPrefixAllocations", "", ""}, {"ipallocations", "", ""},
	{"encryption.enabled", "", ""}, {"sharingscope", "", ""}, {"migrationphase", "", ""}, {"delegations", KindMembers, "it is delegated to %s: a service's own machines are in it"},
	{"virtualnetworkpeerings", KindPeering, "its peering %s is not modelled: further networks are reached, and belong to the tag VirtualNetwork"},
	{"publicipaddress", KindPublic, "its public address %s is not modelled"},
	{"loadbalancerbackendaddresspools", KindPublic, "its load balancer %s is not modelled"},
	{"loadbalancerinboundnatrules", KindPublic, "its NAT rule %s is not modelled"},
	{"applicationgatewaybackendaddresspools", KindPublic, "its application gateway %s is not modelled"},
	{"applicationgatewayipconfigurations", KindMembers, "an application gateway (%s) is in it"},
	{"enableipforwarding", KindRoute, "it forwards packets (enableIPForwarding): it may send from any address"},
	{"gatewayloadbalancer", KindFilter, "its gateway load balancer %s is not modelled"},
	{"virtualnetworktaps", "", ""},
}

// unsupported names a field that would change what is enforced and is not supported.
func (l *loader) unsupported(r *raw, path string) {
	n, _ := r.body.at(path)
	u := Unknown{Kind: KindResource, ID: r.id.String(), Touches: []string{r.id.Key()}, At: r.place(path), What: "its field " + path + " is not modelled"}
	low := strings.ToLower(path)
	for _, f := range unsupportedFields {
		if !strings.HasSuffix(low, strings.ToLower(f.end)) {
			continue
		}
		if f.kind == "" {
			return // changes addresses or services outside, and nothing of what machines reach of each other
		}
		u.Kind, u.What = f.kind, f.what
		if strings.Contains(f.what, "%s") {
			u.What = fmt.Sprintf(f.what, strings.Join(namesIn(n, nil), ", "))
		}
	}
	if _, list, name := r.element(path); strings.EqualFold(list, "subnets") {
		u.ID += "/subnets/" + name
		u.Touches = []string{u.ID}
	}
	u.Touches = l.referredBy(n, u.Touches)
	l.unknown(u)
}

// namesIn are the names of what a value refers to or holds.
func namesIn(n *node, out []string) []string {
	if id := n.get("id").str(); id != "" {
		p := strings.Split(strings.TrimRight(id, "/"), "/")
		return append(out, p[len(p)-1])
	}
	if name := n.get("name").str(); name != "" {
		return append(out, name)
	}
	for _, e := range n.list() {
		out = namesIn(e, out)
	}
	return out
}

// essential is the body as far as it counts: of a machine only which interfaces it has. Locations are always there.
func (l *loader) essential(r *raw) *node {
	body := r.body
	if r.id.Type == "Microsoft.Compute/virtualMachines" {
		body = object(r.at.Line)
		props, profile, list := object(r.at.Line), object(r.at.Line), array(r.at.Line)
		for _, n := range r.body.get("properties", "networkProfile", "networkInterfaces").list() {
			if id := n.get("id").str(); id != "" {
				list.items = append(list.items, reference(id, n.line))
			}
		}
		profile.set("networkInterfaces", list)
		props.set("networkProfile", profile)
		body.set("properties", props)
		if n := r.body.get("properties", "networkProfile", "networkInterfaceConfigurations"); n != nil {
			l.unknown(Unknown{Kind: KindMembers, ID: r.id.String(), At: Place{r.at.File, n.line}, Touches: l.referredBy(n, nil), What: "its interfaces are made with it and not modelled"})
		}
	}
	for _, m := range []string{"id", "etag", "type", "kind", "sku", "zones", "identity", "systemData", "managedBy", "apiVersion", "dependsOn", "scope", "tags", "plan", "extendedLocation",
		"subscriptionId", "tenantId", "resourceGroup"} {
		body.drop(m)
	}
	if loc := body.get("location"); loc == nil || loc.kind != kindString || !location.MatchString(loc.text) {
		body.set("location", text("westeurope", r.at.Line))
	}
	if body.get("properties") == nil {
		body.set("properties", object(r.at.Line))
	}
	if r.id.Type == "Microsoft.Network/networkSecurityGroups" {
		body.get("properties").drop("defaultSecurityRules")
	}
	return body
}

var location = regexp.MustCompile(`^[A-Za-z0-9(), ]+$`)

// validate lists what is wrong beyond the form, in the words of the type table.
func (l *loader) validate(r *raw, w *world) {
	d := w.docs[r.id.Key()]
	if d == nil || d.Type.Name == "Microsoft.Compute/virtualMachines" {
		return
	}
	l.dangling(r, d, w)
	for range 1000 {
		var wrong []resource.Fault
		for _, f := range reversed(resource.Validate(d, w)) {
			if !aside(f.Code) {
				wrong = append(wrong, f)
			}
		}
		if len(wrong) == 0 {
			return
		}
		done := map[string]bool{}
		for _, f := range wrong {
			at, _, _ := r.element(f.Target)
			if r.body == nil || at != "" && done[at] {
				continue
			}
			l.fault(r.place(f.Target), r.id.String(), f.Target, "%s", f.Message)
			if at == "" && r.id.Type == "Microsoft.Network/virtualNetworks" && f.Target == "" || strings.HasPrefix(f.Target, "properties.flowTimeout") || strings.HasPrefix(f.Target, "properties.dhcpOptions") || f.Target == "name" {
				r.body.remove(f.Target)
				continue
			}
			done[at] = true
			l.discard(r, f.Target, KindRule, f.Message)
		}
		if r.body == nil {
			delete(w.docs, r.id.Key())
			w.refs = nil
			return
		}
		normal, faults := resource.Decode(d.Type, r.body.append(nil))
		if len(faults) > 0 {
			delete(w.docs, r.id.Key())
			w.refs = nil
			return
		}
		d = document(r, normal)
		w.put(d)
	}
}

// aside are faults of a write that a description of what exists cannot have, and references, which are looked at by themselves.
func aside(code string) bool {
	switch code {
	case "InvalidResourceReference", "NotFound", "NicInUse", "ResourceGroupNotFound", "LinkedInvalidPropertyId", "InUseSubnetCannotBeDeleted", "InUsePrefixCannotBeDeleted",
		"InvalidResourceName", "PrivateIPAddressNotSpecified":
		return true
	}
	return false
}

// dangling names what is referred to and not in the files.
func (l *loader) dangling(r *raw, d *resource.Doc, w *world) {
	said := map[string]bool{}
	for _, ref := range d.Refs() {
		top := resource.TopKey(ref.To)
		if ref.Kind == resource.GroupType || ref.To == top && strings.Count(ref.ID, "/") > 8 {
			continue
		}
		target := w.docs[top]
		if target != nil && (ref.To == top || target.HasChild(ref.To)) || said[ref.To] {
			continue
		}
		said[ref.To] = true
		id := r.id.String()
		if _, list, name := r.element(ref.Field); name != "" && !strings.EqualFold(list, "ipConfigurations") {
			id += "/" + list + "/" + name
		}
		l.unknown(Unknown{Kind: KindMissing, ID: id, What: "it refers to " + resourceName(ref.ID) + ", which is not among the files",
			Touches: []string{r.id.Key(), id, ref.To}, At: r.place(ref.Field)})
	}
}

// unknownValues leaves out what is known only when it was applied.
func (l *loader) unknownValues(r *raw) {
	for _, path := range slices.Backward(unknownPaths(r.body, "", nil)) {
		if r.body == nil {
			return
		}
		low := strings.ToLower(path)
		at, list, _ := r.element(path)
		const why = " is known only when it is applied"
		field := strings.TrimPrefix(path, at+".properties.")
		switch {
		case strings.EqualFold(list, "ipConfigurations") && strings.Contains(low, ".subnet"):
			l.discard(r, "", KindMembers, "the subnet that it is in"+why)
		case strings.EqualFold(list, "ipConfigurations") && strings.HasSuffix(low, ".privateipaddress"),
			strings.HasSuffix(low, ".name") && list != "", !strings.HasPrefix(low, "properties"), strings.HasSuffix(low, ".description"),
			strings.Contains(low, "dhcpoptions"), strings.Contains(low, "dnssettings"), r.id.Type == "Microsoft.Compute/virtualMachines":
			r.body.remove(path)
		case strings.EqualFold(list, "securityRules"):
			l.discard(r, path, KindRule, "its "+field+why)
		case strings.EqualFold(list, "subnets") && strings.Contains(low, "addressprefix"):
			l.discard(r, path, KindResource, "its "+field+why)
		case strings.Contains(low, "addressspace"):
			l.discard(r, "", KindResource, "its address space"+why)
		default:
			l.unsupportedUnknown(r, path, field+why)
			r.body.remove(path)
		}
	}
}

func (l *loader) unsupportedUnknown(r *raw, path, what string) {
	u := Unknown{Kind: KindFilter, ID: r.id.String(), Touches: []string{r.id.Key()}, At: r.place(path), What: "its " + what}
	if _, list, name := r.element(path); strings.EqualFold(list, "subnets") {
		u.ID += "/subnets/" + name
		u.Touches = []string{u.ID}
	}
	l.unknown(u)
}

func unknownPaths(n *node, at string, out []string) []string {
	if n.kind == kindUnknown {
		return append(out, at)
	}
	for i, e := range n.items {
		out = unknownPaths(e, at+"["+itoa(i)+"]", out)
	}
	for _, m := range n.members {
		out = unknownPaths(m.value, strings.TrimPrefix(at+"."+m.name, "."), out)
	}
	return out
}
