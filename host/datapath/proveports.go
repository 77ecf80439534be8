package datapath

import (
	"fmt"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/observe"
)

// portsProof compares every loaded port with the goal, and finds ports that the goal does not have.
type portsProof struct {
	d       *Datapath
	h       *goal.Host
	devices func(uint32) (int, bool)
	slots   map[uint32]uint32 // slot → index, as loaded
	out     []observe.Difference
}

func (p *portsProof) differ(at string, loaded, goal any) {
	p.out = append(p.out, observe.Difference{At: at, Loaded: fmt.Sprint(loaded), Goal: fmt.Sprint(goal)})
}

func (p *portsProof) run() error {
	at := map[uint32]uint32{}
	for slot, index := range p.slots {
		at[index] = slot
	}
	wanted := map[uint32]bool{}
	for i := range p.h.Ports {
		g := &p.h.Ports[i]
		slot, ok := at[g.Index]
		if !ok {
			p.differ(fmt.Sprintf("port %d", g.Index), "absent", g.ID)
			continue
		}
		wanted[slot] = true
		if err := p.port(g, slot); err != nil {
			return fmt.Errorf("port %d: %w", g.Index, err)
		}
	}
	return p.strangers(wanted)
}

// strangers finds slots that are up and no port of the goal's.
func (p *portsProof) strangers(wanted map[uint32]bool) error {
	words := p.d.coll.Maps["port_words"]
	for slot := range words.MaxEntries() {
		var w portWord
		if err := words.Lookup(slot, &w); err != nil {
			return err
		}
		if w.up() && !wanted[slot] {
			p.differ(fmt.Sprintf("slot %d", slot), fmt.Sprintf("port %d is up", p.slots[slot]), "no such port")
		}
	}
	for slot, index := range p.slots {
		if slot != 0 && !wanted[slot] {
			p.differ(fmt.Sprintf("slot %d", slot), fmt.Sprintf("port %d", index), "no such port")
		}
	}
	return nil
}

func (p *portsProof) port(g *goal.Port, slot uint32) error {
	var w portWord
	var r portRecord
	if err := p.d.coll.Maps["port_words"].Lookup(slot, &w); err != nil {
		return err
	}
	if err := p.d.coll.Maps["port_records"].Lookup(2*slot+w.half(), &r); err != nil {
		return err
	}
	name := fmt.Sprintf("port %d ", g.Index)
	say := func(what string, loaded, want any) {
		if loaded != want {
			p.differ(name+what, loaded, want)
		}
	}
	device, attached := p.devices(g.Index)
	say("up", w.up(), attached)
	say("slot in its word", uint32(w>>24)&0xffff, slot)
	say("device", r.Ifindex, uint32(device))
	say("index", r.Index, g.Index)
	say("virtual network", r.VNI, g.VNI)
	say("MAC", r.MAC, g.MAC)
	say("kind", r.Kind == kindTap, g.Attachment.Kind == goal.KindTap)
	say("idle time", r.Idle, p.idle(g.VNI))
	say("flows", r.Quota, uint32(p.d.opts.Quota))
	say("half-open connections", r.HalfOpen, uint32(p.d.opts.HalfOpen))
	for k := range goal.LimitKinds {
		l := g.Limits.Of(k)
		say(fmt.Sprintf("limit %d", k), r.Limits[k], rateRecord{Gap: l.Gap(), Burst: l.Burst})
	}
	say("NIC's group", r.NICGroup != 0, g.NICGroup != "")
	say("subnet's group", r.SubnetGroup != 0, g.SubnetGroup != "")
	if attached {
		bound, err := p.bound(uint32(device))
		if err != nil {
			return err
		}
		say("of its device", bound, slot)
	}
	return p.addresses(name, g, &r, w)
}

// bound is the slot that a device's packets belong to.
func (p *portsProof) bound(ifindex uint32) (slot uint32, err error) {
	name := "device_slots"
	if ifindex >= devices {
		name = "device_ports"
	}
	err = p.d.coll.Maps[name].Lookup(ifindex, &slot)
	return slot, absentIsNothing(err)
}

func (p *portsProof) idle(vni uint32) uint32 {
	for i := range p.h.VNets {
		if n := &p.h.VNets[i]; n.VNI == vni && n.IdleMinutes > 0 {
			return 60 * uint32(n.IdleMinutes)
		}
	}
	return 4 * 60
}

// addresses compares whom the guard lets speak: what the record holds, and the list of those for whom it has no room.
func (p *portsProof) addresses(name string, g *goal.Port, r *portRecord, w portWord) error {
	loaded := map[netip.Addr]bool{}
	for i := range addrs {
		if r.Has4 == 1 {
			loaded[netip.AddrFrom4(r.IP4[i])] = true
		}
		if r.Has6 == 1 {
			loaded[netip.AddrFrom16(r.IP6[i])] = true
		}
	}
	if r.More == 1 {
		var k ownKey
		var v uint32
		it := p.d.coll.Maps["own_addrs"].Iterate()
		for it.Next(&k, &v) {
			if k.Port == w.key() {
				loaded[addrOf(k.IP, k.Family)] = true
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	for _, a := range g.Addresses {
		if !loaded[a.IP] {
			p.differ(name+"address "+a.IP.String(), "not its own", "its own")
		}
		delete(loaded, a.IP)
	}
	for ip := range loaded {
		p.differ(name+"address "+ip.String(), "its own", "not its own")
	}
	p.subnets(name, g, r)
	return nil
}

func (p *portsProof) subnets(name string, g *goal.Port, r *portRecord) {
	want := map[netip.Prefix]bool{}
	for _, a := range g.Addresses {
		if a.IP.Is4() {
			want[a.Subnet.Masked()] = true
		}
	}
	if len(want) == 0 {
		want[netip.PrefixFrom(netip.IPv4Unspecified(), 32)] = true
	}
	seen := map[netip.Prefix]bool{}
	for _, s := range r.Net4 {
		ones := 0
		for _, b := range s.Mask {
			for ; b&0x80 != 0; b <<= 1 {
				ones++
			}
		}
		seen[netip.PrefixFrom(netip.AddrFrom4(s.Net), ones)] = true
		if s.Mask != maskOf(ones) || !want[netip.PrefixFrom(netip.AddrFrom4(s.Net), ones)] {
			p.differ(name+"subnet", fmt.Sprintf("%v mask %v", netip.AddrFrom4(s.Net), netip.AddrFrom4(s.Mask)), sortedKeys(want))
		}
	}
	for s := range want {
		if !seen[s] {
			p.differ(name+"subnet "+s.String(), "not its own", "its own")
		}
	}
}

func sortedKeys(m map[netip.Prefix]bool) (out []string) {
	for p := range m {
		out = append(out, p.String())
	}
	slices.Sort(out)
	return out
}

// proveEndpoints compares where every address of every virtual network is, and the class that it comes with.
func (d *Datapath) proveEndpoints(h *goal.Host, slots map[uint32]uint32, tables map[uint32]*tableProof) (out []observe.Difference, err error) {
	type key struct {
		vni uint32
		ip  netip.Addr
	}
	at := map[uint32]uint32{}
	for slot, index := range slots {
		at[index] = slot
	}
	want := map[key]goal.Endpoint{}
	for i := range h.VNets {
		for _, e := range h.VNets[i].Endpoints {
			want[key{h.VNets[i].VNI, e.IP}] = e
		}
	}
	show := func(e goal.Endpoint, slot uint16) string {
		return fmt.Sprintf("port %d slot %d at host %v, MAC %v", e.Port, slot, e.Host, e.MAC)
	}
	var k endpointKey
	var v endpointValue
	it := d.coll.Maps["endpoints"].Iterate()
	for it.Next(&k, &v) {
		id := key{k.VNI & 0xffffff, addrOf(k.IP, k.VNI>>24)}
		e, ok := want[id]
		delete(want, id)
		name := fmt.Sprintf("%v of virtual network %d", id.ip, id.vni)
		got := goal.Endpoint{IP: id.ip, Host: netip.AddrFrom4(v.Host), Port: v.Port, MAC: v.MAC}
		if !ok {
			out = append(out, observe.Difference{At: name, Loaded: show(got, v.Slot), Goal: "no such endpoint"})
			continue
		}
		slot := uint16(0)
		if e.Host == h.Underlay {
			slot = uint16(at[e.Port])
		}
		if got != e || v.Slot != slot || v.IP != k.IP || v.VNI != k.VNI {
			out = append(out, observe.Difference{At: name, Loaded: show(got, v.Slot), Goal: show(e, slot)})
		}
		if t := tables[id.vni]; t != nil {
			class, flags := t.of(id.ip)
			flags |= atEndpoint
			if e.Host == h.Underlay {
				flags |= atLocal
			}
			if v.Class != class || v.Flags != flags {
				out = append(out, observe.Difference{At: name, Loaded: fmt.Sprintf("class %d, flags %#x", v.Class, v.Flags), Goal: fmt.Sprintf("class %d, flags %#x", class, flags)})
			}
		}
	}
	for id, e := range want {
		out = append(out, observe.Difference{At: fmt.Sprintf("%v of virtual network %d", id.ip, id.vni), Loaded: "absent", Goal: show(e, uint16(at[e.Port]))})
	}
	return out, it.Err()
}
