package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"ringfence/goal"
	"ringfence/host/services"
	"ringfence/host/services/dhcp"
	"ringfence/host/services/dns"
	"ringfence/host/services/imds"
	"ringfence/observe/journal"
)

// service is one of the host's services: what a goal is given to.
type service interface {
	Set(h *goal.Host)
	Close() error
}

// served are the host's services together. Without DHCP there are none; each of the others may fail to start: then it is tried again
// with every goal and said with every acknowledgement, and the rest works.
type served struct {
	log    *slog.Logger
	others []*starting

	mu   sync.Mutex
	dhcp service
}

// starting is a service and what it takes to start it.
type starting struct {
	name  string
	open  func() (service, error)
	now   service // nil while it does not run
	fault error
}

// serve opens what serves VMs in the service namespace.
func serve(namespace string, log *slog.Logger) (*served, error) {
	d, err := dhcp.Open(dhcp.Options{Namespace: namespace, Device: services.Inside, Log: journal.Component(log, "dhcp")})
	if err != nil {
		return nil, err
	}
	return &served{log: journal.Component(log, "services"), dhcp: d, others: []*starting{
		{name: "dns", open: func() (service, error) {
			return dns.Open(dns.Options{Namespace: namespace, Log: journal.Component(log, "dns")})
		}},
		{name: "metadata", open: func() (service, error) {
			return imds.Open(imds.Options{Namespace: namespace, Log: journal.Component(log, "metadata")})
		}},
	}}, nil
}

// Set gives a goal to all of them.
func (s *served) Set(h *goal.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dhcp.Set(h)
	for _, o := range s.others {
		if o.now == nil {
			v, err := o.open()
			if o.fault = err; err != nil {
				s.log.Error("service does not start", "service", o.name, "error", err)
				continue
			}
			o.now = v
		}
		o.now.Set(h)
	}
}

// Problem says which services do not run, nil when all do.
func (s *served) Problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []error
	for _, o := range s.others {
		if o.fault != nil {
			faults = append(faults, fmt.Errorf("service does not start: %w", o.fault))
		}
	}
	return errors.Join(faults...)
}

// Close stops them.
func (s *served) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := []error{s.dhcp.Close()}
	for _, o := range s.others {
		if o.now != nil {
			faults = append(faults, o.now.Close())
			o.now = nil
		}
	}
	return errors.Join(faults...)
}
