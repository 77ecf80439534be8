package datapath

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// What is missing or not understood drops, each for its own reason; nothing opens.
func TestClosedByDefault(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		a, b := &h.Ports[0], &h.Ports[1]
		n := uint16(1000)
		send := func(what string, action model.Action, reason observe.Reason) {
			t.Helper()
			n++
			v, _ := j.out(1, model.Open(a, goal.UDP, b.Addresses[0].IP, n, 53).Frame())
			j.want(what, v, action, reason)
		}
		send("whole policy", model.Deliver, 0)

		endpoints, key := j.d.coll.Maps["endpoints"], endpointKeyOf(100, b.Addresses[0].IP)
		var e endpointValue
		if err := endpoints.Lookup(key, &e); err != nil {
			t.Fatal(err)
		}
		stale := e
		stale.Class = 999
		endpoints.Put(key, stale)
		send("an address class that the group does not know", model.Drop, observe.ACLStale)
		foreign := e
		foreign.VNI = 101 // an element that another address has taken over while it was read
		endpoints.Put(key, foreign)
		send("an endpoint's element that is another's by now", model.Drop, observe.RouteNoEndpoint)
		endpoints.Put(key, e)

		var groups []uint32
		for _, g := range j.d.kernel.groups {
			groups = append(groups, g.slot)
		}
		var word uint64
		j.d.coll.Maps["group_words"].Lookup(groups[0], &word)
		j.d.coll.Maps["group_words"].Put(groups[0], uint64(0))
		send("a group without its table", model.Drop, observe.Internal)
		j.d.coll.Maps["group_words"].Put(groups[0], uint64(makeBlobWord(3, 77, 0)))
		send("a group whose table is empty", model.Drop, observe.Internal)
		j.d.coll.Maps["group_words"].Put(groups[0], word)
		send("whole policy again", model.Deliver, 0)

		if err := j.d.takeDown(2); err != nil {
			t.Fatal(err)
		}
		send("a receiver that is down", model.Drop, observe.PortDown)
		v, _ := j.out(2, model.Open(b, goal.UDP, a.Addresses[0].IP, 1, 1).Frame())
		j.want("a sender that is down", v, model.Drop, observe.PortDown)

		delete(j.of, 2) // its device is gone, says the agent
		j.apply(h)
		send("a receiver without a device", model.Drop, observe.PortDown)
		j.of[2] = j.devices[2]
		j.apply(h)
		send("its device is back", model.Deliver, 0)

		v, _ = j.run("port_out", model.Open(a, goal.UDP, b.Addresses[0].IP, 1, 1).Frame(), skb{Ifindex: uint32(j.devices[9])})
		j.want("a device that is no port", v, model.Drop, observe.PortUnknown)

		missing := *h
		missing.Generation++
		missing.Ports = append([]goal.Port(nil), h.Ports...)
		missing.Ports[1].NICGroup = "nowhere"
		if err := j.d.Apply(t.Context(), &missing, func(p uint32) (int, bool) { i, ok := j.of[p]; return i, ok }); err == nil {
			t.Error("a goal with a missing group was acknowledged")
		}
		if g := j.d.Generation(); g == missing.Generation {
			t.Error("a goal that failed counts as enforced")
		}
		send("a receiver whose group is missing", model.Drop, observe.PortDown)

		old := *h
		old.Generation = 1
		if err := j.d.Apply(t.Context(), &old, nil); err == nil {
			t.Error("an older goal was put into force")
		}
		other := *h
		other.Generation, other.Underlay = missing.Generation+1, netip.MustParseAddr("198.18.0.99")
		if err := j.d.Apply(t.Context(), &other, nil); err == nil {
			t.Error("another host's goal was put into force")
		}
	})
}

// Random frames on the other programs: nothing gets into the host's stack but ARP on the uplink, nothing to a VM but what the
// service addressed to its port.
func TestNoise(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		r := rand.New(rand.NewPCG(5, 5))
		for i := range 30_000 {
			f := make([]byte, 54+r.IntN(100))
			for k := range f {
				f[k] = byte(r.Uint32())
			}
			ethers := []uint16{model.EtherIPv4, model.EtherIPv6, model.EtherARP, model.EtherVLAN, uint16(r.Uint32())}
			binary.BigEndian.PutUint16(f[12:], ethers[i%len(ethers)])
			service := i%3 == 0
			if service {
				copy(f[6:12], []byte{0x02, 0x5f, 0, 0, 0, byte(r.IntN(4))})
			}
			arp := f[12] == 8 && f[13] == 6
			for _, c := range []struct {
				program string
				want    uint32
			}{{"closed", 2}, {"uplink_in", map[bool]uint32{true: 0, false: 2}[arp]}, {"service_in", map[bool]uint32{true: 7, false: 2}[service && (f[11] == 1 || f[11] == 2)]}} {
				ret, err := j.d.coll.Programs[c.program].Run(&ebpf.RunOptions{Data: slices.Clone(f), Context: skb{Ifindex: uint32(j.devices[0])}})
				if err != nil {
					t.Fatalf("%s: %x: %v", c.program, f, err)
				}
				if ret != c.want {
					t.Fatalf("%s returned %d, not %d, for %x", c.program, ret, c.want, f)
				}
			}
		}
	})
}
