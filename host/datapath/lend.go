package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// lend copies into a trace's own maps what its packet would find: the flows of its conversation at every port of this host, the ports'
// shares of the flow table and their buckets.
func (d *Datapath) lend(to *ebpf.Collection, frame []byte) error {
	if err := clearFlows(to); err != nil {
		return err
	}
	slots, err := d.slots()
	if err != nil {
		return err
	}
	for slot := range slots {
		var word portWord
		if err := d.coll.Maps["port_words"].Lookup(slot, &word); err != nil {
			return err
		}
		for _, name := range []string{"port_flows", "port_buckets"} {
			if err := copyEntry(d.coll.Maps[name], to.Maps[name], slot); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if err := d.lendFlows(to, word.key(), frame); err != nil {
			return err
		}
	}
	return nil
}

// lendFlows copies the flow that a packet belongs to at one port, as its sender's and as its receiver's.
func (d *Datapath) lendFlows(to *ebpf.Collection, port uint32, frame []byte) error {
	proto, ports, ok := flowPorts(frame)
	if !ok {
		return nil
	}
	for i := range 2 {
		var err error
		if frame[12] == 0x08 {
			ends := [2][4]byte{[4]byte(frame[26:]), [4]byte(frame[30:])}
			err = copyEntry(d.coll.Maps["flows4"], to.Maps["flows4"],
				flowKey4{Port: port, Local: ends[i], Remote: ends[1-i], LPort: ports[i], RPort: ports[1-i], Proto: proto})
		} else {
			ends := [2][16]byte{[16]byte(frame[22:]), [16]byte(frame[38:])}
			err = copyEntry(d.coll.Maps["flows6"], to.Maps["flows6"],
				flowKey6{Port: port, Local: ends[i], Remote: ends[1-i], LPort: ports[i], RPort: ports[1-i], Proto: proto})
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("flow: %w", err)
		}
	}
	return nil
}

// flowPorts reads the protocol of a whole IP packet without options, and the two numbers by which its flow is known.
func flowPorts(frame []byte) (proto uint8, ports [2]uint16, ok bool) {
	if len(frame) < 14 {
		return 0, ports, false
	}
	at := 14 + 20
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
	case 0x86dd:
		at = 14 + 40
	default:
		return 0, ports, false
	}
	if len(frame) < at+8 {
		return 0, ports, false
	}
	proto = frame[23]
	if at > 14+20 {
		proto = frame[20]
	}
	l4 := frame[at:]
	switch proto {
	case 6, 17:
		ports = [2]uint16{binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])}
	case 1, 58: // an echo request has the number at its sender, a reply at its receiver
		id := binary.BigEndian.Uint16(l4[4:])
		ports[0] = id
		if l4[0] == 0 || l4[0] == 129 {
			ports = [2]uint16{0, id}
		}
	}
	return proto, ports, true
}

func copyEntry(from, to *ebpf.Map, key any) error {
	v, err := from.LookupBytes(key)
	if err != nil {
		return err
	}
	if v == nil {
		return ebpf.ErrKeyNotExist
	}
	return to.Put(key, v)
}

func clearFlows(coll *ebpf.Collection) error {
	for _, name := range []string{"flows4", "flows6"} {
		m := coll.Maps[name]
		for {
			k, err := m.NextKeyBytes(nil)
			if err != nil {
				return err
			}
			if k == nil {
				break
			}
			if err := m.Delete(k); err != nil {
				return err
			}
		}
	}
	return nil
}
