package machine

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
)

// Example is a configuration to begin from, for this machine's name, device and address.
func Example(name, device, address string) string {
	return fmt.Sprintf(`# Ringfence on one machine. Every field: docs/configuration.md
name: %[1]s
api:
  listen: 127.0.0.1:8443      # where clients of ARM call, over TLS
control:
  listen: %[3]s:7443   # where other hosts call and join
peers:
  listen: %[3]s:7444   # where other servers call
host:                         # without this part: control plane only
  underlay:
    device: %[2]s
    address: %[3]s
`, name, device, address)
}

// Explain tells somebody who has no configuration what is needed, and what would happen.
func Explain(w io.Writer, file string) error {
	name, device, address := here()
	_, err := fmt.Fprintf(w, `ringfence up runs the control plane, its store and this host's agent in one process.

It needs: Linux 6.6 or newer, root, a BPF file system, and %[1]s:

%[2]s
It makes, and keeps over restarts: %[3]s (store, authority, certificates), %[4]s (sockets), %[5]s (programs and maps).
It attaches to the tunnel device that it makes and to the machines' devices; the device of the underlay it only sends through, and an uplink
is touched only when the configuration names one.

To try it without touching this machine: ringfence lab up
`, file, indent(Example(name, device, address)), DefaultDataDir, DefaultRunDir, defaultBPFFS)
	return err
}

// here guesses the name and the underlay of this machine: the first device that is up with a global IPv4 address.
func here() (name, device, address string) {
	name, device, address = "host1", "eth0", "192.0.2.1"
	if h, err := os.Hostname(); err == nil {
		h, _, _ = strings.Cut(strings.ToLower(h), ".")
		if h = strings.Trim(regexp.MustCompile(`[^a-z0-9-]+`).ReplaceAllString(h, "-"), "-"); nameForm.MatchString(h) {
			name = h
		}
	}
	all, err := net.Interfaces()
	if err != nil {
		return name, device, address
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				return name, i.Name, p.Addr().String()
			}
		}
	}
	return name, device, address
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}

// Greet says where everything is, once it runs.
func Greet(w io.Writer, c Config, s *State) {
	trust := s.CA
	if trust == "" {
		trust = "as the certificate " + c.API.Cert + " is"
	}
	fmt.Fprintf(w, "Ringfence %s is up.\n\nAPI          %s\nTrust        %s\nOperator     unix:%s\nCredentials  %s\n", s.Name, s.Endpoint, trust, s.Socket, c.secretPlaces())
	for _, t := range s.Tenants {
		fmt.Fprintf(w, "\nTenant %s\n  tenant id     %s\n  subscription  %s\n", t.Name, t.ID, t.Subscription)
		if t.ClientID != "" {
			fmt.Fprintf(w, "  client id     %s\n  Terraform     eval \"$(ringfence env terraform --as %s)\"\n", t.ClientID, t.Name)
		}
		fmt.Fprintf(w, "  as it         ringfence group list --as %s\n", t.Name)
	}
	fmt.Fprintf(w, "\nOne more host:    ringfence host add NAME\nOne more server:  ringfence server token NAME\n")
}

// secretPlaces are the files, root's, that hold what is not printed.
func (c *Config) secretPlaces() string {
	var files []string
	for _, name := range []string{tenantsFile, credentialsFile} {
		if _, err := os.Stat(c.file(name)); err == nil {
			files = append(files, c.file(name))
		}
	}
	if files == nil {
		return "those of the configuration"
	}
	return strings.Join(files, ", ")
}
