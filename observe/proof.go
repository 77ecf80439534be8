package observe

// Proof is one part of what a host has loaded, read back and compared with its goal for all packets.
type Proof struct {
	Part        string       `json:"part"` // ports, endpoints, or a virtual network's table or group
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is where what is loaded says something else than the goal, with both sides.
type Difference struct {
	At     string `json:"at"`
	Loaded string `json:"loaded"`
	Goal   string `json:"goal"`
}
