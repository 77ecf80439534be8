package alloc

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"ringfence/intent/resource"
	"ringfence/intent/store"
)

const (
	rg     = "/subscriptions/11111111-0000-0000-0000-000000000000/resourceGroups/Rg"
	vnetID = rg + "/providers/Microsoft.Network/virtualNetworks/"
	nicID  = rg + "/providers/Microsoft.Network/networkInterfaces/"
	vmID   = rg + "/providers/Microsoft.Compute/virtualMachines/"
)

// world is a snapshot that puts documents into itself the way a server does.
type world struct {
	snap *store.Snapshot
	a    Allocator
}

func newWorld(hosts ...store.Host) *world { return &world{snap: store.Offline(hosts, nil)} }

type failer interface {
	Helper()
	Fatal(...any)
}

func doc(t failer, id, body string) *resource.Doc {
	t.Helper()
	parsed, err := resource.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return resource.NewDoc(parsed, []byte(body))
}

// put allocates and, when that works, stores.
func (w *world) put(d *resource.Doc) (*resource.Doc, error) {
	draft := &Draft{Base: w.snap, Doc: d}
	if err := w.a.Allocate(draft); err != nil {
		return nil, err
	}
	w.snap = w.snap.With(&store.Write{Put: []store.Put{{Doc: d, Claims: draft.Claims}}})
	return d, nil
}

func (w *world) must(t failer, d *resource.Doc) *resource.Doc {
	t.Helper()
	d, err := w.put(d)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) drop(d *resource.Doc) {
	w.snap = w.snap.With(&store.Write{Delete: []string{d.Key()}})
}

// vnet has one subnet per list of prefixes: s0, s1 …
func vnet(t failer, name string, subnets ...string) *resource.Doc {
	t.Helper()
	var list []string
	for i, s := range subnets {
		list = append(list, fmt.Sprintf(`{"name":"s%d","properties":{"addressPrefixes":["%s"]}}`, i, strings.ReplaceAll(s, " ", `","`)))
	}
	return doc(t, vnetID+name, `{"location":"westus","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8","fd00::/48"]},"subnets":[`+
		strings.Join(list, ",")+`]}}`)
}

// config is one IP configuration: name=subnet, then an address for static, or "6" for IPv6.
func nic(t failer, name string, configs ...string) *resource.Doc {
	t.Helper()
	var list []string
	for _, c := range configs {
		f := strings.Fields(c)
		cfg, in, _ := strings.Cut(f[0], "=")
		props := `"subnet":{"id":"` + vnetID + strings.Replace(in, "/", "/subnets/", 1) + `"}`
		for _, more := range f[1:] {
			if more == "6" {
				props += `,"privateIPAddressVersion":"IPv6"`
			} else {
				props += `,"privateIPAllocationMethod":"Static","privateIPAddress":"` + strings.TrimPrefix(more, "!") + `"`
			}
		}
		list = append(list, `{"name":"`+cfg+`","properties":{`+props+`}}`)
	}
	return doc(t, nicID+name, `{"location":"westus","properties":{"ipConfigurations":[`+strings.Join(list, ",")+`]}}`)
}

func addressesOf(d *resource.Doc) string {
	var all []string
	for _, c := range []string{"a", "b", "c", "d"} {
		if ip := d.System.Addresses[c]; ip != "" {
			all = append(all, ip)
		}
	}
	return strings.Join(all, " ")
}

func TestAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		configs []string // of one interface in v, whose subnets follow; three interfaces have 10.0.0.4, .5 and .7 already
		want    string   // addresses, or the code and text of the refusal
	}{
		"lowest":               {[]string{"a=v/s0"}, "10.0.0.6"},
		"two":                  {[]string{"a=v/s0", "b=v/s0"}, "10.0.0.6 10.0.0.8"},
		"static first":         {[]string{"a=v/s0", "b=v/s0 10.0.0.6"}, "10.0.0.8 10.0.0.6"},
		"other subnet":         {[]string{"a=v/s1"}, "10.1.0.4"},
		"any case":             {[]string{"A=V/S1"}, "10.1.0.4"},
		"last usable":          {[]string{"a=v/s1 10.1.0.6"}, "10.1.0.6"},
		"both families":        {[]string{"a=v/s2", "b=v/s2 6"}, "10.2.0.4 fd00::4"},
		"static IPv6":          {[]string{"a=v/s2 6 fd00:0:0:0::00ff"}, "fd00::ff"},
		"second prefix":        {[]string{"a=v/s3 10.4.0.9"}, "10.4.0.9"},
		"overflow to second":   {[]string{"a=v/s3", "b=v/s3", "c=v/s3", "d=v/s3"}, "10.3.0.4 10.3.0.5 10.3.0.6 10.4.0.4"},
		"taken":                {[]string{"a=v/s0 10.0.0.5"}, "PrivateIPAddressIsAllocated: IP configuration " + nicID + "new/ipConfigurations/a is using the private IP address 10.0.0.5 which is already allocated to resource " + nicID + "n2/ipConfigurations/a."},
		"twice in one":         {[]string{"a=v/s0 10.0.0.9", "b=v/s0 10.0.0.9"}, "PrivateIPAddressIsAllocated: IP configuration " + nicID + "new/ipConfigurations/b is using the private IP address 10.0.0.9 which is already allocated to resource " + nicID + "new/ipConfigurations/a."},
		"network":              {[]string{"a=v/s0 10.0.0.0"}, "PrivateIPAddressInReservedRange: Private static IP address 10.0.0.0 falls within reserved IP range of subnet prefix 10.0.0.0/24."},
		"third":                {[]string{"a=v/s0 10.0.0.3"}, "PrivateIPAddressInReservedRange: Private static IP address 10.0.0.3 falls within reserved IP range of subnet prefix 10.0.0.0/24."},
		"broadcast":            {[]string{"a=v/s0 10.0.0.255"}, "PrivateIPAddressInReservedRange: Private static IP address 10.0.0.255 falls within reserved IP range of subnet prefix 10.0.0.0/24."},
		"broadcast of a /29":   {[]string{"a=v/s1 10.1.0.7"}, "PrivateIPAddressInReservedRange: Private static IP address 10.1.0.7 falls within reserved IP range of subnet prefix 10.1.0.0/29."},
		"IPv6 reserved":        {[]string{"a=v/s2 6 fd00::3"}, "PrivateIPAddressInReservedRange: Private static IP address fd00::3 falls within reserved IP range of subnet prefix fd00::/64."},
		"outside":              {[]string{"a=v/s0 10.0.1.4"}, "PrivateIPAddressNotInSubnet: Private static IP address 10.0.1.4 does not belong to the range of subnet prefix 10.0.0.0/24."},
		"outside both":         {[]string{"a=v/s3 10.5.0.4"}, "PrivateIPAddressNotInSubnet: Private static IP address 10.5.0.4 does not belong to the range of subnet prefix 10.3.0.0/29, 10.4.0.0/28."},
		"five numbers":         {[]string{"a=v/s0 10.11.12.13.14"}, "InvalidPrivateIPAddressFormat: Private static IP address value 10.11.12.13.14 is invalid."},
		"none given":           {[]string{"a=v/s0 !"}, "PrivateIPAddressNotSpecified: IP configuration " + nicID + "new/ipConfigurations/a has the allocation method Static, but no privateIPAddress."},
		"leading zero":         {[]string{"a=v/s0 10.0.0.010"}, "InvalidPrivateIPAddressFormat: Private static IP address value 10.0.0.010 is invalid."},
		"a prefix":             {[]string{"a=v/s0 10.0.0.9/24"}, "InvalidPrivateIPAddressFormat: Private static IP address value 10.0.0.9/24 is invalid."},
		"mapped":               {[]string{"a=v/s2 6 ::ffff:10.2.0.9"}, "InvalidPrivateIPAddressFormat: Private static IP address value ::ffff:10.2.0.9 is invalid."},
		"with a zone":          {[]string{"a=v/s2 6 fd00::9%eth0"}, "InvalidPrivateIPAddressFormat: Private static IP address value fd00::9%eth0 is invalid."},
		"other family":         {[]string{"a=v/s2 fd00::9"}, "InvalidPrivateIPAddressFormat: Private static IP address value fd00::9 is invalid."},
		"full":                 {[]string{"a=v/s1", "b=v/s1", "c=v/s1", "d=v/s1"}, "SubnetIsFull: Subnet s1 with address prefix 10.1.0.0/29 does not have enough capacity for 1 IP addresses."},
		"no IPv6 there":        {[]string{"a=v/s0 6"}, "SubnetHasNoPrefixOfIpVersion: IP configuration " + nicID + "new/ipConfigurations/a asks for an IPv6 address, but subnet " + vnetID + "v/subnets/s0 has no IPv6 address prefix."},
		"no such subnet":       {[]string{"a=v/s9"}, "InvalidResourceReference: Resource " + vnetID + "v/subnets/s9 referenced by resource " + nicID + "new was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."},
		"no such VNet":         {[]string{"a=w/s0"}, "InvalidResourceReference: Resource " + vnetID + "w/subnets/s0 referenced by resource " + nicID + "new was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."},
		"two faults are named": {[]string{"a=v/s0 10.0.0.5x", "b=v/s0 10.0.0.1"}, "InvalidPrivateIPAddressFormat: Private static IP address value 10.0.0.5x is invalid.\nPrivateIPAddressInReservedRange: Private static IP address 10.0.0.1 falls within reserved IP range of subnet prefix 10.0.0.0/24."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.must(t, vnet(t, "v", "10.0.0.0/24", "10.1.0.0/29", "10.2.0.0/24 fd00::/64", "10.3.0.0/29 10.4.0.0/28"))
			w.must(t, nic(t, "n1", "a=v/s0"))
			w.must(t, nic(t, "n2", "a=v/s0"))
			w.must(t, nic(t, "n3", "a=v/s0 10.0.0.7"))
			before := w.snap
			d, err := w.put(nic(t, "new", c.configs...))
			got := ""
			if err != nil {
				got = err.Error()
				if w.snap != before {
					t.Error("a refused document was stored")
				}
				var faults resource.Faults
				if !errors.As(err, &faults) || faults[0].Status != 400 || faults[0].Target == "" {
					t.Errorf("not a fault with status and field: %#v", err)
				}
			} else {
				got = addressesOf(d)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What a document has it keeps over re-PUTs; what it no longer needs is free for others.
func TestKept(t *testing.T) {
	w := newWorld()
	v := w.must(t, vnet(t, "v", "10.0.0.0/24", "10.1.0.0/24"))
	again := w.must(t, vnet(t, "V", "10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24"))
	if v.System.VNI != again.System.VNI || v.System.Domain != again.System.Domain || v.System.GUID != again.System.GUID {
		t.Errorf("a VNet changed: %+v, %+v", v.System, again.System)
	}
	first := w.must(t, nic(t, "n1", "a=v/s0"))
	w.must(t, nic(t, "n2", "a=v/s0"))
	w.drop(first)
	n2 := w.must(t, nic(t, "N2", "A=v/s0"))
	if addressesOf(n2) != "10.0.0.5" || n2.System.Port != 2 || n2.System.MAC != "02:52:46:00:00:02" {
		t.Errorf("it is not kept: %+v", n2.System)
	}
	for _, c := range []struct {
		what, config, want string
	}{
		{"the free one is not taken by a re-PUT", "a=v/s0", "10.0.0.5"},
		{"from dynamic to static", "a=v/s0 10.0.0.5", "10.0.0.5"},
		{"another static one", "a=v/s0 10.0.0.9", "10.0.0.9"},
		{"back to dynamic: kept", "a=v/s0", "10.0.0.9"},
		{"another subnet", "a=v/s1", "10.1.0.4"},
		{"and back: the lowest", "a=v/s0", "10.0.0.4"},
		{"a renamed configuration is another one", "b=v/s0", "10.0.0.5"},
	} {
		if d := w.must(t, nic(t, "n2", c.config)); addressesOf(d) != c.want {
			t.Errorf("%s: %s, want %s", c.what, addressesOf(d), c.want)
		}
	}
	swap := w.must(t, nic(t, "n5", "a=v/s1 10.1.0.10", "b=v/s1 10.1.0.11"))
	if swap = w.must(t, nic(t, "n5", "a=v/s1 10.1.0.11", "b=v/s1 10.1.0.10")); addressesOf(swap) != "10.1.0.11 10.1.0.10" {
		t.Errorf("swapped: %s", addressesOf(swap))
	}
	if d := w.must(t, nic(t, "n6", "a=v/s0 10.0.0.4")); addressesOf(d) != "10.0.0.4" {
		t.Errorf("what was given back is not free: %s", addressesOf(d))
	}
	// Addresses of another VNet are others.
	w.must(t, vnet(t, "w", "10.0.0.0/24"))
	if d := w.must(t, nic(t, "n7", "a=w/s0 10.0.0.5")); d.System.Addresses["a"] != "10.0.0.5" {
		t.Errorf("overlapping VNets: %+v", d.System)
	}
}

func TestNumbersAndNames(t *testing.T) {
	w := newWorld()
	var vnis []uint32
	for i := range 4 {
		d := w.must(t, vnet(t, fmt.Sprint("v", i), "10.0.0.0/24"))
		vnis = append(vnis, d.System.VNI)
		if !regexp.MustCompile(`^[0-9a-z]{26}\.rx\.internal\.cloudapp\.net$`).MatchString(d.System.Domain) {
			t.Errorf("domain %q", d.System.Domain)
		}
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(d.System.GUID) || d.System.Created == "" {
			t.Errorf("%+v", d.System)
		}
	}
	if fmt.Sprint(vnis) != "[1 2 3 4]" {
		t.Errorf("VNIs %v", vnis)
	}
	w.drop(vnet(t, "v1"))
	if d := w.must(t, vnet(t, "v9", "10.0.0.0/24")); d.System.VNI != 2 {
		t.Errorf("VNI %d is not the one given back", d.System.VNI)
	}
	for i := range 300 {
		if d := w.must(t, nic(t, fmt.Sprint("n", i), "a=v0/s0 10.0.0."+fmt.Sprint(4+i%250))); i == 249 {
			if d.System.MAC != "02:52:46:00:00:fa" || d.System.Port != 250 {
				t.Errorf("%+v", d.System)
			}
			w.must(t, vnet(t, "v0", "10.0.0.0/24"))
			break
		}
	}
}
