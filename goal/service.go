package goal

import (
	"fmt"
	"net/netip"
	"strings"
)

// Name is a VM's host name as the VNet's internal DNS knows it.
type Name struct {
	Host string       // a DNS label in lower case
	IPs  []netip.Addr // the primary NIC's primary IPv4 address, its first IPv6 address: at least one of them, sorted
}

// Compute is what the metadata service tells a VM about itself, beside its network. Empty fields are not known.
type Compute struct {
	Name         string // of the VM, as the client wrote it
	Location     string
	Group        string // resource group
	Subscription string
	VMID         string
	Size         string
	Zone         string
	OSType       string // Linux or Windows
	Priority     string
	Image        Image
	AdminUser    string
	NoPassword   bool // disablePasswordAuthentication
	Keys         []Key
	Tags         []Tag // by Name
}

// Image is what a VM's disk was made from.
type Image struct{ Publisher, Offer, SKU, Version string }

// Key is a public SSH key for a file of the guest.
type Key struct{ Path, Data string }

// Tag is a name and value that people gave a resource.
type Tag struct{ Name, Value string }

func (n *Name) text(b *strings.Builder) {
	fmt.Fprintf(b, "  name %s", word(n.Host))
	for _, ip := range n.IPs {
		b.WriteString(" " + addr(ip))
	}
	b.WriteByte('\n')
}

func (c *Compute) text(b *strings.Builder) {
	fmt.Fprintf(b, "  compute %s group %s subscription %s location %s\n", word(c.Name), word(c.Group), word(c.Subscription), word(c.Location))
	fmt.Fprintf(b, "  vm-id %s size %s zone %s os %s priority %s\n", word(c.VMID), word(c.Size), word(c.Zone), word(c.OSType), word(c.Priority))
	fmt.Fprintf(b, "  image %s %s %s %s\n", word(c.Image.Publisher), word(c.Image.Offer), word(c.Image.SKU), word(c.Image.Version))
	fmt.Fprintf(b, "  admin %s%s\n", word(c.AdminUser), mark(" no-password", c.NoPassword))
	for _, k := range c.Keys {
		fmt.Fprintf(b, "  key %s %s\n", word(k.Path), word(k.Data))
	}
	for _, t := range c.Tags {
		fmt.Fprintf(b, "  tag %s %s\n", word(t.Name), word(t.Value))
	}
}

// checkNames wants labels in order, each with addresses that are endpoints of the VNet.
func (n *VNet) checkNames() error {
	for i, name := range n.Names {
		if !Label(name.Host) || i > 0 && n.Names[i-1].Host >= name.Host {
			return fmt.Errorf("name %q: expected DNS labels in ascending order", name.Host)
		}
		if len(name.IPs) == 0 || !ascending(name.IPs, netip.Addr.Compare) {
			return fmt.Errorf("name %q: addresses %s: expected at least one, ascending", name.Host, name.IPs)
		}
		for _, ip := range name.IPs {
			if _, ok := n.endpoint(ip); !ok {
				return fmt.Errorf("name %q: address %s: expected an endpoint of the VNet", name.Host, ip)
			}
		}
	}
	return checkDomain(n.Domain)
}

// checkDomain wants a DNS suffix in lower case, or none.
func checkDomain(domain string) error {
	if domain == "" {
		return nil
	}
	if len(domain) > 180 { // so that a name in it has room for a label
		return fmt.Errorf("domain %q: longer than 180 bytes", domain)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !Label(label) {
			return fmt.Errorf("domain %q: expected DNS labels in lower case", domain)
		}
	}
	return nil
}

// Label says whether s can be a host name in DNS: 1 to 63 of a-z, 0-9 and -, not at its ends.
func Label(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// checkForwarders wants addresses that a query can be sent to.
func (h *Host) checkForwarders() error {
	for _, f := range h.Forwarders {
		if !f.IsValid() || f.Port() == 0 || f.Addr().IsUnspecified() || f.Addr().IsMulticast() {
			return fmt.Errorf("forwarder %s: expected an address and a port", f)
		}
	}
	return nil
}
