package datapath

import (
	"fmt"

	"ringfence/goal"
)

// addEndpoints writes the addresses that are new or changed. Every rule group knows their classes by now.
func (u *update) addEndpoints() error {
	ports := map[uint32]uint32{}
	for i := range u.h.Ports {
		if err := u.placePort(&u.h.Ports[i]); err != nil {
			u.faults = append(u.faults, err)
			continue
		}
		ports[u.h.Ports[i].Index] = u.k.ports[u.h.Ports[i].Index].slot
	}
	m := u.maps("endpoints")
	for i := range u.h.VNets {
		n := &u.h.VNets[i]
		if u.tables[n.VNI] {
			continue
		}
		v := u.k.vnets[n.VNI]
		for _, e := range n.Endpoints {
			want := u.endpoint(n.VNI, v, e, ports)
			had, ok := v.endpoints[e.IP]
			if ok && had == want {
				continue
			}
			if err := m.Put(endpointKeyOf(n.VNI, e.IP), want); err != nil {
				return fmt.Errorf("endpoint %v of virtual network %d: %w", e.IP, n.VNI, err)
			}
			v.endpoints[e.IP] = want
			if ok {
				u.moved[n.VNI] = true
			}
		}
	}
	return nil
}

func (u *update) endpoint(vni uint32, v *vnetState, e goal.Endpoint, ports map[uint32]uint32) endpointValue {
	k := endpointKeyOf(vni, e.IP)
	s := u.plans[vni].at(e.IP)
	out := endpointValue{IP: k.IP, VNI: k.VNI, Port: e.Port, Class: v.classes.id(s.combo), MAC: e.MAC, Flags: atEndpoint}
	if e.Host.Is4() {
		out.Host = e.Host.As4()
	}
	if s.inPrefix {
		out.Flags |= atPrefix
	}
	if e.Host == u.d.opts.Underlay {
		out.Flags |= atLocal
		out.Slot = uint16(ports[e.Port])
	}
	return out
}
