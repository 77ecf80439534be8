package serving

import (
	"errors"
	"fmt"
	"log/slog"

	"ringfence/goal"
	"ringfence/host/services"
	"ringfence/host/services/dhcp"
	"ringfence/host/services/dns"
	"ringfence/host/services/imds"
	"ringfence/observe"
	"ringfence/observe/journal"
)

// service is one of the host's services: what a goal is given to.
type service interface {
	Set(h *goal.Host)
	Close() error
}

// outcomes are a service's counters in the words of observe.ServiceOutcomes.
func outcomes(v service) map[string]uint64 {
	switch v := v.(type) {
	case *dhcp.Server:
		s := v.Status()
		return map[string]uint64{"answered": s.Answered, "ignored": s.Ignored, "malformed": s.Malformed, "stranger": s.UnknownPort, "limited": s.Limited, "unsent": s.SendErrors}
	case *dns.Server:
		s := v.Status()
		return map[string]uint64{"answered": s.Answered, "forwarded": s.Forwarded, "failed": s.Failed, "refused": s.Refused, "malformed": s.Malformed, "limited": s.Limited,
			"stranger": s.Strangers, "unsent": s.SendErrors}
	case *imds.Server:
		s := v.Status()
		return map[string]uint64{"answered": s.Answered, "refused": s.Refused, "limited": s.Limited, "stranger": s.Strangers}
	}
	return nil
}

// counts are those of all that run.
func (s *served) counts() observe.Requests {
	out := observe.Requests{}
	for _, o := range s.all {
		if o.now != nil {
			out[o.name] = outcomes(o.now)
		}
	}
	return out
}

// served are the host's services together. Each may fail to start: then it is tried again with every goal and said with every
// acknowledgement, and the rest works.
type served struct {
	log *slog.Logger
	all []*starting
}

// starting is a service and what it takes to start it.
type starting struct {
	name  string
	open  func() (service, error)
	now   service // nil while it does not run
	fault error
}

// serve names what serves VMs in the service namespace, and starts it.
func serve(namespace string, log *slog.Logger) *served {
	s := &served{log: journal.Component(log, "services"), all: []*starting{
		{name: "dhcp", open: func() (service, error) {
			return dhcp.Open(dhcp.Options{Namespace: namespace, Device: services.Inside, Log: journal.Component(log, "dhcp")})
		}},
		{name: "dns", open: func() (service, error) {
			return dns.Open(dns.Options{Namespace: namespace, Log: journal.Component(log, "dns")})
		}},
		{name: "metadata", open: func() (service, error) {
			return imds.Open(imds.Options{Namespace: namespace, Log: journal.Component(log, "metadata")})
		}},
	}}
	s.start()
	return s
}

// start opens what does not run yet and says whether all do.
func (s *served) start() bool {
	whole := true
	for _, o := range s.all {
		if o.now != nil {
			continue
		}
		v, err := o.open()
		if o.fault = err; err != nil {
			s.log.Error("service does not start", "service", o.name, "error", err)
			whole = false
			continue
		}
		o.now = v
	}
	return whole
}

// set gives a goal to all of them.
func (s *served) set(h *goal.Host) {
	s.start()
	for _, o := range s.all {
		if o.now != nil {
			o.now.Set(h)
		}
	}
}

// problem says which services do not run, nil when all do.
func (s *served) problem() error {
	var faults []error
	for _, o := range s.all {
		if o.fault != nil {
			faults = append(faults, fmt.Errorf("service %s does not start: %w", o.name, o.fault))
		}
	}
	return errors.Join(faults...)
}

func (s *served) close() {
	for _, o := range s.all {
		if o.now != nil {
			o.now.Close()
			o.now = nil
		}
	}
}
