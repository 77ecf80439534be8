package compile

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/intent/resource"
)

// ProfileAzure2024 leaves out of the tag Internet also the blocks that the provider was seen to hold for itself in 2024, so that
// verdicts can be compared with Azure's. The profile "" leaves out special-purpose addresses only.
const ProfileAzure2024 = "azure-2024"

// Profiles lists the values of Facts.Profile.
func Profiles() []string { return []string{"", ProfileAzure2024} }

// wireServer is the platform's address in every VNet.
var wireServer = netip.MustParseAddr("168.63.129.16")

// builtin are the tags that every fabric has; VirtualNetwork's contents are each VNet's own.
var builtin = map[string][]netip.Prefix{
	goal.SetVirtualNetwork:    nil,
	goal.SetAzureLoadBalancer: prefixes("168.63.129.16/32 fe80::1234:5678:9abc/128"),
	goal.SetPlatformDNS:       prefixes("168.63.129.16/32"),
	goal.SetPlatformIMDS:      prefixes("169.254.169.254/32"),
}

// special are the IPv4 blocks that are not Internet anywhere.
var special = prefixes("0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 224.0.0.0/3")

// provider are the IPv4 blocks that Azure itself was seen to leave out in 2024.
var provider = prefixes(`4.128.0.0/12 13.96.0.0/13 20.35.252.0/22 20.128.0.0/16 20.130.0.0/16 20.144.0.0/14 20.176.0.0/13
	21.0.0.0/8 22.0.0.0/8 23.103.0.0/18 25.0.0.0/16 25.4.0.0/14 25.64.0.0/10 25.128.0.0/17 25.142.0.0/15 25.144.0.0/15
	25.148.0.0/15 25.150.0.0/16 25.152.0.0/14 25.156.0.0/16 25.159.0.0/16 25.160.0.0/12 25.176.0.0/13 25.184.0.0/14
	25.192.0.0/15 25.248.0.0/16 25.250.0.0/18 25.250.64.0/20 25.250.84.0/23 25.252.0.0/16 25.254.0.0/21 25.254.8.0/24
	25.254.64.0/18 25.254.128.0/17 40.66.128.0/17 40.108.0.0/17 40.109.0.0/16 52.132.0.0/14 52.145.0.0/16 68.18.0.0/15
	104.146.0.0/17 104.147.0.0/16 104.212.36.0/22 104.212.52.0/22 129.75.0.0/16 134.177.0.0/16 138.196.0.0/16
	141.251.0.0/16 146.147.0.0/16 157.59.0.0/16 192.32.0.0/16`)

// internet is the tag Internet. Nothing is known of Azure's IPv6 part; here it is all of global unicast, 2000::/3: unique local,
// link-local and unassigned addresses are outside, documentation addresses inside, as 198.51.100.0/24 and 203.0.113.0/24 are
// in IPv4. Neither the VNet's own prefixes nor 168.63.129.16 are taken out: tags overlap.
func internet(profile string) []netip.Prefix {
	without := special
	if profile == ProfileAzure2024 {
		without = slices.Concat(special, provider)
	}
	return normalise(append(subtract(netip.MustParsePrefix("0.0.0.0/0"), without), netip.MustParsePrefix("2000::/3")))
}

// tags are the service tags of the fabric.
type tags struct {
	facts Facts                     // what they were made from
	names map[string]string         // lower-case name as rules write it → Set.Name
	sets  map[string][]netip.Prefix // Set.Name → contents, but for VirtualNetwork
}

// tagTable returns the tags, from the memo when the facts say the same.
func (c *compiler) tagTable() *tags {
	t := c.old.tags
	if t == nil || t.facts.Profile != c.facts.Profile || !maps.EqualFunc(t.facts.PrefixLists, c.facts.PrefixLists, slices.Equal) {
		t = makeTags(c.facts)
	}
	c.new.tags = t
	return t
}

func makeTags(f Facts) *tags {
	t := &tags{facts: f, names: map[string]string{}, sets: map[string][]netip.Prefix{}}
	for name, contents := range builtin {
		t.add(name, contents)
	}
	t.add(goal.SetInternet, internet(f.Profile))
	for _, name := range slices.Sorted(maps.Keys(f.PrefixLists)) {
		t.add("tag:"+name, normalise(f.PrefixLists[name]))
	}
	return t
}

// add gives a tag its contents; names differ in more than case, and the first one stays.
func (t *tags) add(set string, contents []netip.Prefix) {
	lower := strings.ToLower(strings.TrimPrefix(set, "tag:"))
	if t.names[lower] == "" {
		t.names[lower], t.sets[set] = set, contents
	}
}

// name is the Set.Name of a tag as a rule writes it, "" when there is no such tag. Other spellings that validation lets pass are
// validation's to know.
func (t *tags) name(text string) string {
	if set := t.names[strings.ToLower(text)]; set != "" {
		return set
	}
	known, _ := resource.KnownTag(text, nil)
	return t.names[strings.ToLower(known)]
}

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range strings.Fields(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
