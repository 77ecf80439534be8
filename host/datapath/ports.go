package datapath

import (
	"fmt"

	"ringfence/goal"
)

const defaultIdle = 4 * 60 // seconds; Azure's default flow timeout

// placePort gives a port a slot. A slot's new user, and a port that changes its virtual network, gets a new incarnation: no
// flow of before is found any more.
func (u *update) placePort(p *goal.Port) error {
	s := u.k.ports[p.Index]
	if s != nil && s.record.VNI == p.VNI {
		return nil
	}
	if s == nil {
		slot, ok := freeSlot(u.k.portSlots(), u.maps("port_words").MaxEntries())
		if !ok {
			return fmt.Errorf("port %d: no more than %d ports", p.Index, u.maps("port_words").MaxEntries()-1)
		}
		s = &portState{slot: slot}
		if err := u.maps("port_words").Lookup(slot, &s.word); err != nil {
			return fmt.Errorf("port %d: %w", p.Index, err)
		}
		if err := u.d.zeroCounters(slot); err != nil {
			return fmt.Errorf("port %d: %w", p.Index, err)
		}
	}
	w := makePortWord(s.word.half(), false, s.word.incarnation()+1, s.slot, s.word.epoch()).readied(!s.word.unready())
	if err := u.maps("port_words").Put(s.slot, w); err != nil {
		return fmt.Errorf("port %d: %w", p.Index, err)
	}
	if err := u.maps("port_flows").Put(s.slot, shareValue{}); err != nil {
		return fmt.Errorf("port %d: %w", p.Index, err)
	}
	if err := u.maps("port_buckets").Put(s.slot, bucketRecord{}); err != nil {
		return fmt.Errorf("port %d: %w", p.Index, err)
	}
	s.word, s.record.VNI = w, p.VNI
	u.k.ports[p.Index] = s
	u.orphans = true
	if err := u.maps("index_ports").Put(p.Index, s.slot); err != nil {
		return fmt.Errorf("port %d: %w", p.Index, err)
	}
	return nil
}

// publishPorts writes every port's record into the half that is not in force and flips its word.
func (u *update) publishPorts() error {
	for i := range u.h.Ports {
		p := &u.h.Ports[i]
		s := u.k.ports[p.Index]
		if s == nil {
			continue // placePort said why
		}
		if err := u.publishPort(p, s); err != nil {
			return fmt.Errorf("port %d: %w", p.Index, err)
		}
	}
	return nil
}

func (u *update) publishPort(p *goal.Port, s *portState) error {
	r, up := u.record(p)
	epoch := s.word.epoch()
	if u.flushed(p) {
		epoch = (epoch + 1) & 0xffffff
		u.flush[s.word.key()] = epoch
	}
	if err := u.bindDevice(s.slot, r.Ifindex); err != nil {
		return err
	}
	gone, err := u.own(p, s, r.More == 1)
	if err != nil {
		return err
	}
	u.lost = append(u.lost, gone...)
	if r == s.record && up == s.word.up() && epoch == s.word.epoch() {
		return nil
	}
	w := makePortWord(s.word.half()^1, up, s.word.incarnation(), s.slot, epoch).readied(!s.word.unready())
	if err := u.maps("port_records").Put(s.slot*2+w.half(), r); err != nil {
		return err
	}
	if err := u.maps("port_words").Put(s.slot, w); err != nil {
		return err
	}
	u.checks[check{u.maps("port_words"), s.slot}] = uint64(w)
	u.lost = append(u.lost, lostAddresses(s, p)...)
	s.word, s.record = w, r
	return nil
}

// record is a port as the programs know it, and whether it has everything that it needs to be up.
func (u *update) record(p *goal.Port) (r portRecord, up bool) {
	up = true
	r = portRecord{Index: p.Index, VNI: p.VNI, MAC: p.MAC, Quota: uint32(u.d.opts.Quota), HalfOpen: uint32(u.d.opts.HalfOpen), Idle: defaultIdle}
	if p.Attachment.Kind == goal.KindTap {
		r.Kind = kindTap
	}
	for k := range goal.LimitKinds {
		l := p.Limits.Of(k)
		r.Limits[k] = rateRecord{Gap: l.Gap(), Burst: l.Burst}
	}
	if v := u.k.vnets[p.VNI]; v != nil && v.word.class() != 0 {
		r.VNet = v.slot
	} else {
		up = false
	}
	for i := range u.h.VNets {
		if n := &u.h.VNets[i]; n.VNI == p.VNI && n.IdleMinutes > 0 {
			r.Idle = uint32(n.IdleMinutes) * 60
		}
	}
	for _, g := range []struct {
		id string
		at *uint32
	}{{p.NICGroup, &r.NICGroup}, {p.SubnetGroup, &r.SubnetGroup}} {
		if g.id == "" {
			continue
		}
		k := groupKey{hash16([]byte(g.id)), p.VNI}
		s := u.k.groups[k]
		if s == nil || s.word.class() == 0 {
			up = false
			continue
		}
		*g.at = s.slot
	}
	if ifindex, ok := u.devices(p.Index); ok {
		r.Ifindex = uint32(ifindex)
	} else {
		up = false
	}
	if !r.addresses(p) {
		u.faults = append(u.faults, fmt.Errorf("port %d: more than %d IPv4 subnets", p.Index, addrs))
		up = false
	}
	return r, up
}

// flushed says whether a group of the port has changed that judges existing flows anew.
func (u *update) flushed(p *goal.Port) bool {
	for _, id := range []string{p.NICGroup, p.SubnetGroup} {
		g := u.groups[id]
		if g == nil || !g.Flush {
			continue
		}
		if was, ok := u.before[hash16([]byte(id))]; !ok || was != u.rulesOf(g) {
			return true
		}
	}
	return false
}

// bindDevice makes the slot known by its device, and by no other.
func (u *update) bindDevice(slot, ifindex uint32) error {
	for dev, s := range u.k.devices {
		if s == slot && dev != ifindex {
			if err := u.unbind(dev); err != nil {
				return err
			}
			delete(u.k.devices, dev)
		}
	}
	if ifindex == 0 || u.k.devices[ifindex] == slot {
		return nil
	}
	name := "device_slots"
	if ifindex >= devices {
		name = "device_ports"
	}
	if err := u.maps(name).Put(ifindex, slot); err != nil {
		return err
	}
	u.k.devices[ifindex] = slot
	return nil
}

func (u *update) unbind(ifindex uint32) error {
	if ifindex >= devices {
		return u.maps("device_ports").Delete(ifindex)
	}
	return u.maps("device_slots").Put(ifindex, uint32(0))
}
