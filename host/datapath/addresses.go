package datapath

import (
	"net/netip"

	"ringfence/goal"
)

// addresses fills in the first addresses of each family; unused places repeat the first one.
func (r *portRecord) addresses(p *goal.Port) bool {
	n4, n6 := 0, 0
	for _, a := range p.Addresses {
		switch {
		case a.IP.Is4() && n4 < addrs:
			r.IP4[n4], n4 = a.IP.As4(), n4+1
		case a.IP.Is6() && n6 < addrs:
			r.IP6[n6], n6 = a.IP.As16(), n6+1
		default:
			r.More = 1
		}
	}
	if n4 > 0 {
		r.Has4 = 1
	}
	if n6 > 0 {
		r.Has6 = 1
	}
	for i := max(n4, 1); i < addrs; i++ {
		r.IP4[i] = r.IP4[0]
	}
	for i := max(n6, 1); i < addrs; i++ {
		r.IP6[i] = r.IP6[0]
	}
	return r.subnets(subnetsOf(p))
}

func (r *portRecord) subnets(s []netip.Prefix) bool {
	for i := range r.Net4 {
		switch {
		case i < len(s):
			r.Net4[i].Net = s[i].Addr().As4()
			r.Net4[i].Mask = maskOf(s[i].Bits())
		case len(s) > 0:
			r.Net4[i] = r.Net4[0]
		default:
			r.Net4[i].Mask = maskOf(32)
		}
	}
	return len(s) <= addrs
}

func maskOf(n int) (b [4]byte) {
	m := uint32(uint64(0xffffffff) << (32 - n))
	return [4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}
}

// own keeps the addresses of a port that has more than its record holds.
func (u *update) own(p *goal.Port, s *portState, more bool) (lost []lostAddress, err error) {
	want := map[ownKey]bool{}
	if more {
		for _, a := range p.Addresses {
			want[ownKey{s.word.key(), family(a.IP), addr16(a.IP)}] = true
		}
	}
	for k := range want {
		if u.k.own[k] {
			continue
		}
		if err := u.maps("own_addrs").Put(k, uint32(1)); err != nil {
			return nil, err
		}
		u.k.own[k] = true
	}
	for k := range u.k.own {
		if k.Port != s.word.key() || want[k] {
			continue
		}
		if err := u.maps("own_addrs").Delete(k); err != nil {
			return nil, err
		}
		delete(u.k.own, k)
		if ip := addrOf(k.IP, k.Family); !has(p, ip) {
			lost = append(lost, lostAddress{k.Port, ip})
		}
	}
	return lost, nil
}

func has(p *goal.Port, ip netip.Addr) bool {
	for _, a := range p.Addresses {
		if a.IP == ip {
			return true
		}
	}
	return false
}

// lostAddresses lists those of the record in force that the goal does not give the port any more.
func lostAddresses(s *portState, p *goal.Port) (out []lostAddress) {
	for i := range addrs {
		if ip := netip.AddrFrom4(s.record.IP4[i]); s.record.Has4 == 1 && !has(p, ip) {
			out = append(out, lostAddress{s.word.key(), ip})
		}
		if ip := netip.AddrFrom16(s.record.IP6[i]); s.record.Has6 == 1 && !has(p, ip) {
			out = append(out, lostAddress{s.word.key(), ip})
		}
	}
	return out
}
