package resource

import "strings"

// Fault is one reason why a request is refused: Azure's status, code and text, and the path of the field it is about.
type Fault struct {
	Status  int
	Code    string
	Message string
	Target  string  // properties.subnets[1].properties.addressPrefix; "" when it is about the whole
	Details []Fault // inner errors, where Azure wraps them
}

func (f Fault) Error() string { return f.Code + ": " + f.Message }

// Faults is every fault that was found, in document order. It is an error when it is not empty.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Err gives nil for no faults.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// NotSupported is the code of what Azure knows and Ringfence would have to enforce but does not.
const NotSupported = "RingfenceNotSupported"

// bad makes a fault with status 400.
func bad(target, code, message string) Fault {
	return Fault{Status: 400, Code: code, Message: message, Target: target}
}
