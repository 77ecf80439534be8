package cni

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Where things are unless the configuration says otherwise.
const (
	defaultSocket = "/run/ringfenced/host/agent.sock"
	defaultData   = "/var/lib/cni/ringfence"
)

// config is the network configuration.
type config struct {
	Version string `json:"cniVersion"`
	Name    string `json:"name"`
	Type    string `json:"type"`

	Socket  string `json:"socket"`  // of the host's agent
	DataDir string `json:"dataDir"` // records of attachments

	NIC  string `json:"nic"` // ARM id of the network interface, for a network of one container
	Args struct {
		CNI struct {
			NIC string `json:"nic"`
		} `json:"cni"`
	} `json:"args"`
	Runtime struct {
		NIC string `json:"io.ringfence.nic"` // for runtimes that know the capability of this name
	} `json:"runtimeConfig"`

	// A network of any number of containers: each gets an interface of its own, which lives as long as the attachment.
	Subnet   string   `json:"subnet"`                    // ARM id
	Group    string   `json:"networkSecurityGroup"`      // ARM id of the interfaces' NSG
	ASGs     []string `json:"applicationSecurityGroups"` // ARM ids
	Endpoint string   `json:"endpoint"`                  // of the API, https://HOST:PORT
	Token    string   `json:"tokenFile"`                 // file with the tenant's token
	CA       string   `json:"ca"`                        // file with the certificate to trust the endpoint by

	Previous *result      `json:"prevResult"`
	Valid    []attachment `json:"cni.dev/valid-attachments"`
}

type attachment struct {
	Container string `json:"containerID"`
	Device    string `json:"ifname"`
}

func parse(b []byte) (*config, error) {
	c := &config{Socket: defaultSocket, DataDir: defaultData}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fault(codeDecode, "decode the configuration: %v", err)
	}
	if !slices.Contains(versions, c.Version) {
		e := fault(codeVersion, "cniVersion %q: this plugin speaks %s", c.Version, strings.Join(versions, ", "))
		e.Version = versions[len(versions)-1]
		return nil, e
	}
	if faults := c.check(); faults != nil {
		e := fault(codeConfig, "the network configuration is wrong")
		e.Details, e.Version = strings.Join(faults, "; "), c.Version
		return nil, e
	}
	return c, nil
}

// check lists what is wrong.
func (c *config) check() (faults []string) {
	fault := func(bad bool, field, value, want string) {
		if bad {
			faults = append(faults, fmt.Sprintf("%s %q: %s expected", field, value, want))
		}
	}
	fault(!containerForm.MatchString(c.Name) || len(c.Name) > 200, "name", c.Name, "letters, digits, _ . and -, at most 200,")
	fault(!filepath.IsAbs(c.Socket), "socket", c.Socket, "an absolute path")
	fault(!filepath.IsAbs(c.DataDir), "dataDir", c.DataDir, "an absolute path")
	if c.Subnet == "" {
		for _, f := range [][2]string{{"networkSecurityGroup", c.Group}, {"endpoint", c.Endpoint}, {"tokenFile", c.Token}, {"ca", c.CA}} {
			fault(f[1] != "", f[0], f[1], "a subnet beside it")
		}
		fault(len(c.ASGs) > 0, "applicationSecurityGroups", strings.Join(c.ASGs, ","), "a subnet beside it")
		return faults
	}
	fault(c.NIC != "", "nic", c.NIC, "either it or a subnet")
	_, err := parseSubnet(c.Subnet)
	fault(err != nil, "subnet", c.Subnet, "the id of a subnet")
	fault(!strings.HasPrefix(c.Endpoint, "https://") && !strings.HasPrefix(c.Endpoint, "unix:"), "endpoint", c.Endpoint, "https://HOST:PORT, or unix:PATH,")
	fault(!filepath.IsAbs(c.Token) && !strings.HasPrefix(c.Endpoint, "unix:"), "tokenFile", c.Token, "an absolute path")
	return faults
}

// nic is the interface that this call is about: the nearest to the container wins.
func (c *config) nic(args map[string]string) string {
	for _, id := range []string{args["RINGFENCE_NIC"], c.Runtime.NIC, c.Args.CNI.NIC, c.NIC} {
		if id != "" {
			return id
		}
	}
	return ""
}
