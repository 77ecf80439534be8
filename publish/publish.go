// Package publish carries goals from the control plane to the hosts and their acknowledgements back: one long-lived stream per
// host, length-prefixed JSON over mutual TLS 1.3, in which the client certificate's common name is the host's name.
//
// In, at the server: the newest goal of every host (Publish). Out: at the host, complete goals, never an older one after a newer
// (Client.Goals); at the server, who has enforced what (Wait, Hosts). Goals travel as parts named by their content: only what the
// host lacks is sent, and a slow host gets only the newest goal. The server owns a Publisher, the agent a Client.
package publish

import (
	"encoding/json"
	"net/netip"
	"time"

	"ringfence/goal"
)

// message is one frame: exactly one field is set.
type message struct {
	Hello  *Hello      `json:"hello,omitempty"`
	Goal   *goalFrame  `json:"goal,omitempty"`
	Ack    *Ack        `json:"ack,omitempty"`
	Report *Report     `json:"report,omitempty"`
	Ask    *ask        `json:"ask,omitempty"`
	Answer *answer     `json:"answer,omitempty"`
	Call   *call       `json:"call,omitempty"`
	Reply  *answer     `json:"reply,omitempty"`
	Beat   *beat       `json:"beat,omitempty"`
	Bye    *leaveFrame `json:"bye,omitempty"`

	Join    *JoinRequest `json:"join,omitempty"`
	Joined  *JoinAnswer  `json:"joined,omitempty"`
	Renew   *renewFrame  `json:"renew,omitempty"`
	Servers *serverFrame `json:"servers,omitempty"`
}

// beat shows that the sender lives. The server's says when it was sent, the host's returns that with its own time: so the server knows
// how far apart the clocks are.
type beat struct {
	Sent int64 `json:"sent,omitempty"` // the server's time, Unix nanoseconds
	Now  int64 `json:"now,omitempty"`  // the host's
}

// renewFrame asks for a new certificate for the same key, and brings it.
type renewFrame struct {
	CSR   []byte `json:"csr,omitempty"`
	Cert  []byte `json:"cert,omitempty"`
	Error string `json:"error,omitempty"`
}

// serverFrame tells a host where it may call when this server is gone.
type serverFrame struct {
	Addresses []string `json:"addresses"`
}

// Hello is the host's first frame.
type Hello struct {
	Host       string     `json:"host"`       // must be the certificate's common name
	Underlay   netip.Addr `json:"underlay"`   // tunnel endpoint
	Generation uint64     `json:"generation"` // of the goal in force, 0 when there is none
	Version    string     `json:"version"`
	Capacity   int        `json:"capacity"` // how many VMs it carries, 0: no limit of its own
	Have       []Hash     `json:"have,omitempty"`
	Process    string     `json:"process,omitempty"` // names the agent's process, by chance: two with one name and certificate are told apart

	Key     string    `json:"-"` // print of the certificate's key, as the server saw it
	Expires time.Time `json:"-"` // of the certificate
	From    string    `json:"-"` // address
}

// Ack says what a host made of a goal.
type Ack struct {
	Generation uint64 `json:"generation"`
	Problem    string `json:"problem,omitempty"` // why the goal is not enforced, "" when it is
}

// Report is what a host tells about itself when it changes.
type Report struct {
	Sandboxes []Sandbox `json:"sandboxes"`          // all of the host, by VM
	Degraded  []string  `json:"degraded,omitempty"` // what is not as it should be though the goal is enforced
}

// Sandbox is the state of one port's sandbox.
type Sandbox struct {
	VM       string `json:"vm"`       // ARM id
	NIC      string `json:"nic"`      // ARM id
	Port     uint32 `json:"port"`     //
	Netns    string `json:"netns"`    // path or name of the namespace
	HostName string `json:"hostname"` //
	Dir      string `json:"dir"`      // files that stand in for the guest's: resolv.conf, hosts
	Device   string `json:"device"`   //
	Ready    bool   `json:"ready"`    // addresses and routes are configured by DHCP
	Problem  string `json:"problem,omitempty"`
}

// ask is a question of the operator to a host; answer is matched by number.
type ask struct {
	Number uint64 `json:"number"`
	Kind   string `json:"kind"`
}

type answer struct {
	Number uint64          `json:"number"`
	Body   json.RawMessage `json:"body,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// call is a host's request to the server; the reply is an answer with its number.
type call struct {
	Number uint64          `json:"number"`
	Kind   string          `json:"kind"`
	Body   json.RawMessage `json:"body"`
}

// leaveFrame is the server's reason for closing the stream.
type leaveFrame struct {
	Reason string `json:"reason"`
}

// goalFrame is a goal as a list of parts, with those parts that the host lacks.
type goalFrame struct {
	Host   goal.Host         `json:"host"` // without what is in parts
	Ports  []Hash            `json:"ports,omitempty"`
	VNets  []Hash            `json:"vnets,omitempty"`
	Groups []Hash            `json:"groups,omitempty"`
	Zones  []Hash            `json:"zones,omitempty"`
	Sizes  []int             `json:"sizes,omitempty"` // of the parts, which follow the JSON as they are
	Parts  []json.RawMessage `json:"parts,omitempty"` // how servers sent them before; read, never written
}
