package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/cli/matrix"
	"ringfence/cli/probe"
	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/sandbox"
	"ringfence/lab"
)

type probeCommand struct{}

func (probeCommand) Run(a *app) error { return probe.Serve(a.ctx, a.in, a.out) }

// internetName is the node that stands for everybody outside.
const internetName = "internet"

// The Internet's own addresses in a lab.
var internetAddresses = []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:203::1")}

// shot is one request to send with the cell that it fills.
type shot struct {
	probe.Shot
	cell   *matrix.Cell
	target string // who must answer; "" when nobody of ours is there
}

// prober is one process in one namespace.
type prober struct {
	who     string
	start   func(*exec.Cmd) error
	shots   []shot
	results []probe.Result
	arrived []string
}

// measure sends everything at once and asks the model about the same packets.
func (d *demo) measure() ([]matrix.Cell, error) {
	probers := d.probers()
	var cells []*matrix.Cell
	for _, p := range probers {
		for i := range p.shots {
			cells = append(cells, p.shots[i].cell)
		}
	}
	name := fmt.Sprintf("send packets for %d cells, all at once", len(cells))
	if err := d.step(name, func(ctx context.Context) error { return d.fire(ctx, probers) }); err != nil {
		return nil, fmt.Errorf("send packets: %w", err)
	}
	judge(probers)
	if err := d.step("ask the goal's model about the same packets", func(ctx context.Context) error { return d.askModel(ctx, probers) }); err != nil {
		return nil, err
	}
	out := make([]matrix.Cell, len(cells))
	for i, c := range cells {
		through, known := d.expected.Expect(c.FromTier, c.ToTier, c.Probe)
		if known {
			c.Expected = matrix.Of(through)
		}
		out[i] = *c
	}
	slices.SortStableFunc(out, func(a, b matrix.Cell) int {
		if (a.Tenant == "") != (b.Tenant == "") {
			return len(b.Tenant) - len(a.Tenant)
		}
		return strings.Compare(a.Tenant, b.Tenant)
	})
	return out, nil
}

func (p *placed) who() string { return p.tenant + "/" + p.Name }

// probers makes one prober per machine and one on the Internet, each with everything it is to send.
func (d *demo) probers() []*prober {
	var out []*prober
	for i := range d.all {
		from := &d.all[i]
		p := &prober{who: from.who(), start: func(cmd *exec.Cmd) error { return sandbox.Start(from.box.spec(), cmd) }}
		for _, to := range d.targets(from) {
			for _, pr := range d.expected.Probes {
				p.add(pr, to, matrix.Cell{Tenant: from.tenant, From: from.Name, FromTier: from.Tier})
			}
		}
		out = append(out, p)
	}
	world := &prober{who: internetName, start: func(cmd *exec.Cmd) error { return lab.Start(d.state, internetName, cmd) }}
	for _, to := range d.outside() {
		for _, pr := range d.expected.Probes {
			world.add(pr, to, matrix.Cell{From: internetName, FromTier: internetName})
		}
	}
	return append(out, world)
}

// target is an address that is tried.
type target struct {
	name, tier, who string
	address         netip.Addr
}

func (p *prober) add(pr matrix.Probe, to target, c matrix.Cell) {
	c.To, c.ToTier, c.Probe, c.Family = to.name, to.tier, pr, "IPv4"
	if to.address.Is6() {
		c.Family = "IPv6"
	}
	nonce := make([]byte, probe.NonceLength/2)
	rand.Read(nonce) // never fails
	p.shots = append(p.shots, shot{
		Shot: probe.Shot{ID: len(p.shots), Network: pr.Network, To: to.address, Port: pr.Port, Nonce: fmt.Sprintf("%x", nonce)},
		cell: &c, target: to.who,
	})
}

// targets of a machine: its tenant's others, the other tenant's machines that its own tenant lacks, the Internet, the hosts.
func (d *demo) targets(from *placed) []target {
	var out []target
	has := func(tenant, name string) bool {
		return slices.ContainsFunc(d.all, func(p placed) bool { return p.tenant == tenant && p.Name == name })
	}
	for i := range d.all {
		to := &d.all[i]
		for _, ip := range to.Addresses {
			switch {
			case to.tenant == from.tenant && to.Name != from.Name:
				out = append(out, target{to.Name, to.Tier, to.who(), ip})
			case to.tenant != from.tenant && !has(from.tenant, to.Name):
				out = append(out, target{to.who(), "stranger", to.who(), ip})
			}
		}
	}
	for _, ip := range internetAddresses {
		out = append(out, target{internetName, internetName, internetName, ip})
	}
	out = append(out, d.hosts()...)
	return slices.DeleteFunc(out, func(t target) bool { // a machine without IPv6 cannot send any
		return !slices.ContainsFunc(from.Addresses, func(ip netip.Addr) bool { return ip.Is6() == t.address.Is6() })
	})
}

// hosts lists the provider's own addresses.
func (d *demo) hosts() []target {
	var out []target
	for _, h := range d.state.Hosts {
		for _, text := range []string{h.Underlay, h.Management, h.Uplink, h.UplinkV6} {
			if ip, err := netip.ParseAddr(text); err == nil {
				out = append(out, target{h.Name + " " + text, "host", "", ip})
			}
		}
	}
	return out
}

// outside is what the Internet tries: every machine's address once, and the hosts.
func (d *demo) outside() []target {
	var out []target
	for _, m := range d.machines {
		for _, ip := range m.Addresses {
			out = append(out, target{m.Name, m.Tier, "", ip})
		}
	}
	return append(out, d.hosts()...)
}

// fire starts all probers, lets them shoot at the same moment and collects what they saw.
func (d *demo) fire(ctx context.Context, probers []*prober) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, d.c.Timeout+20*time.Second)
	defer stop()
	var ready, shot, work sync.WaitGroup
	ready.Add(len(probers))
	shot.Add(len(probers))
	faults := make([]error, len(probers))
	for i, p := range probers {
		work.Go(func() {
			if err := d.runProber(ctx, self, p, meeting(&ready), meeting(&shot)); err != nil {
				faults[i] = fmt.Errorf("%s: %w", p.who, err)
				stop()
			}
		})
	}
	work.Wait()
	return errors.Join(faults...)
}

// meeting is where every prober waits for all others, once; a prober that fails does not keep the others waiting.
func meeting(w *sync.WaitGroup) func(wait bool) {
	var once sync.Once
	return func(wait bool) {
		once.Do(w.Done)
		if wait {
			w.Wait()
		}
	}
}

func (d *demo) runProber(ctx context.Context, self string, p *prober, ready, shot func(bool)) (err error) {
	defer ready(false)
	defer shot(false)
	cmd := exec.CommandContext(ctx, self, "probe")
	cmd.Stderr = d.err
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.start(cmd); err != nil {
		return err
	}
	defer func() {
		in.Close()
		err = errors.Join(err, cmd.Wait())
	}()
	plan := probe.Plan{Who: p.who, Timeout: d.c.Timeout}
	for _, pr := range d.expected.Probes {
		switch pr.Network {
		case "tcp":
			plan.TCP = append(plan.TCP, pr.Port)
		case "udp":
			plan.UDP = append(plan.UDP, pr.Port)
		}
	}
	for _, s := range p.shots {
		plan.Shots = append(plan.Shots, s.Shot)
	}
	lines := bufio.NewReaderSize(out, 1<<16)
	if err := json.NewEncoder(in).Encode(plan); err != nil {
		return err
	}
	if word, err := lines.ReadString('\n'); err != nil || word != "ready\n" {
		return fmt.Errorf("is not ready: %q, %w", word, orEOF(err))
	}
	ready(true)
	io.WriteString(in, "go\n")
	if err := json.Unmarshal(readLine(lines), &p.results); err != nil {
		return fmt.Errorf("read results: %w", err)
	}
	shot(true)
	io.WriteString(in, "end\n")
	if err := json.Unmarshal(readLine(lines), &p.arrived); err != nil {
		return fmt.Errorf("read arrivals: %w", err)
	}
	return nil
}

func orEOF(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readLine(r *bufio.Reader) []byte {
	b, _ := r.ReadBytes('\n') // a missing line is no JSON
	return b
}

// judge fills the first column: who answered each shot, and where its nonce was seen.
func judge(probers []*prober) {
	seen := map[string][]string{} // nonce → who received it
	for _, p := range probers {
		for _, n := range p.arrived {
			seen[n] = append(seen[n], p.who)
		}
	}
	for _, p := range probers {
		for i := range p.shots {
			if i < len(p.results) {
				verdict(&p.shots[i], p.results[i], seen[p.shots[i].Nonce])
			}
		}
	}
}

// verdict: yes is an answer from the right one that nobody else saw; no is that nothing arrived anywhere and nothing came back.
func verdict(s *shot, r probe.Result, seen []string) {
	c := s.cell
	switch {
	case r.Error != "":
		c.Got, c.Detail = matrix.Unknown, "could not be sent: "+r.Error
	case r.Answer == "" && len(seen) == 0:
		c.Got = matrix.No
	case r.Answer == "":
		c.Got, c.Detail = matrix.Wrong, "arrived at "+strings.Join(seen, ", ")+", no answer came back"
	case s.target != "" && len(seen) == 1 && seen[0] == s.target && (r.Answer == s.target || r.Answer == probe.Echo):
		c.Got = matrix.Yes
	default:
		c.Got, c.Detail = matrix.Wrong, fmt.Sprintf("answered by %s, seen by %v", r.Answer, seen)
	}
}

// askModel fills the second column from the goals that the hosts enforce now.
func (d *demo) askModel(ctx context.Context, probers []*prober) error {
	models := map[string]*model.Model{}
	ports := map[string]*goal.Port{} // by lower-case VM id
	on := map[string]string{}
	for _, h := range d.state.Hosts {
		raw, err := d.goalText(ctx, h.Name)
		if err != nil {
			return err
		}
		var g goal.Host
		if err := json.Unmarshal(raw, &g); err != nil {
			return fmt.Errorf("read the goal of %s: %w", h.Name, err)
		}
		models[h.Name] = model.New(&g)
		for i := range g.Ports {
			vm := strings.ToLower(g.Ports[i].VM)
			ports[vm], on[vm] = &g.Ports[i], h.Name
		}
	}
	byWho := map[string]*placed{}
	for i := range d.all {
		byWho[d.all[i].who()] = &d.all[i]
	}
	for _, p := range probers {
		from := byWho[p.who]
		for i := range p.shots {
			s := &p.shots[i]
			if from == nil { // a goal opens nothing towards the uplink: there is no port that such a packet could reach
				s.cell.Model = matrix.No
				continue
			}
			port := ports[strings.ToLower(from.id)]
			if port == nil {
				return fmt.Errorf("no goal has a port for %s", p.who)
			}
			var to uint32
			if t := byWho[s.target]; t != nil && ports[strings.ToLower(t.id)] != nil {
				to = ports[strings.ToLower(t.id)].Index
			}
			v, _ := model.Send(models, on[strings.ToLower(from.id)], port.Index, packet(port, s.Shot, uint16(i)))
			s.cell.Model = opinion(v, to)
			if s.cell.Detail == "" && v.Action == model.Drop {
				s.cell.Detail = strings.TrimSpace(v.Reason.String() + " " + v.Rule)
			}
		}
	}
	return nil
}

func opinion(v model.Verdict, to uint32) matrix.Answer {
	switch {
	case v.Action == model.Drop:
		return matrix.No
	case v.Action == model.Deliver && to != 0 && v.Port == to:
		return matrix.Yes
	}
	return matrix.Wrong
}

// gatewayMAC is what every neighbour's address resolves to inside a machine.
var gatewayMAC = goal.MAC{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}

// packet is the first packet of a shot, as the machine's kernel sends it.
func packet(port *goal.Port, s probe.Shot, n uint16) model.Packet {
	p := model.Packet{EtherType: model.EtherIPv4, SrcMAC: port.MAC, DstMAC: gatewayMAC, Dst: s.To, HopLimit: 64}
	if s.To.Is6() {
		p.EtherType = model.EtherIPv6
	}
	for _, a := range port.Addresses {
		if a.IP.Is6() == s.To.Is6() {
			p.Src = a.IP
			break
		}
	}
	switch s.Network {
	case "tcp":
		p.Protocol, p.SrcPort, p.DstPort, p.TCPFlags = goal.TCP, 32768+n, s.Port, model.SYN
	case "udp":
		p.Protocol, p.SrcPort, p.DstPort = goal.UDP, 32768+n, s.Port
	case "icmp":
		p.Protocol, p.ICMPType, p.ICMPID = goal.ICMP, model.EchoRequest, n
		if s.To.Is6() {
			p.Protocol, p.ICMPType = goal.ICMPv6, model.EchoRequest6
		}
	}
	return p
}
