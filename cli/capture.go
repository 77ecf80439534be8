package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"ringfence/observe/pcapng"
)

type captureCommand struct {
	VM       string `arg:"" help:"Virtual machine: its name or id."`
	Write    string `short:"w" placeholder:"FILE" help:"Write a pcapng file, - for standard output, instead of lines."`
	Count    int    `short:"c" help:"End after so many packets."`
	Snap     int    `default:"256" help:"Bytes of each packet to keep, at most 65535."`
	Address  string `help:"Only packets from or to this address."`
	Port     uint16 `help:"Only TCP and UDP packets from or to this port."`
	Protocol string `enum:"tcp,udp,icmp,arp," default:"" help:"Only this protocol: tcp, udp, icmp (of either family) or arp."`
	Group    string `name:"resource-group" short:"g" help:"Resource group of the virtual machine."`
}

func (captureCommand) Help() string {
	return "Captures what the virtual machine sends and gets at its primary network interface until interrupted, dropped packets included. Each packet tells what became of it and, of a drop, the reason, rule and revision. " +
		"One capture runs per host at a time; packets that find no room are counted.\n\n" +
		"Examples:\n  ringfence capture web1 --port 443\n  ringfence capture web1 -w web1.pcapng --count 1000\n  ringfence capture web1 -w - | tcpdump -r -"
}

func (c *captureCommand) Run(a *app) (err error) {
	if c.Snap < 1 || c.Snap > 65535 {
		return usagef("--snap %d: 1 to 65535 expected", c.Snap)
	}
	want := frameFilter{port: c.Port, protocol: c.Protocol}
	if c.Address != "" {
		if want.address, err = netip.ParseAddr(c.Address); err != nil {
			return usagef("--address %s: expected an IP address", c.Address)
		}
	}
	id, err := (&traceCommand{Group: c.Group}).id(a, c.VM)
	if err != nil {
		return err
	}
	cl, err := a.operator()
	if err != nil {
		return err
	}
	body, err := cl.open(a.ctx, "/ringfence/v1/capture?"+url.Values{"vm": {id}, "snap": {fmt.Sprint(c.Snap)}}.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	s := &captureSink{a: a, want: want, most: c.Count}
	if c.Write != "" {
		if err := s.open(c.Write, c.VM, c.Snap); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.err, "ringfence: capturing %s; ^C ends it\n", c.VM)
	err = lines(body, s.take)
	if a.ctx.Err() != nil || errors.Is(err, errEnough) {
		err = nil
	} else if err == nil {
		err = errors.New("the control plane has ended the stream")
	}
	return errors.Join(err, s.close())
}

var errEnough = errors.New("enough")

// captureSink is where captured packets go.
type captureSink struct {
	a       *app
	want    frameFilter
	most, n int
	lost    uint64
	out     io.Writer // of a pcapng file; nil: lines
	file    *os.File
	rows    *rowPrinter
}

func (s *captureSink) open(name, vm string, snap int) error {
	s.out = s.a.out
	if name != "-" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		s.file, s.out = f, f
	}
	_, err := s.out.Write(pcapng.Header("ringfence", vm, uint32(snap)))
	return err
}

// take writes one line of the stream.
func (s *captureSink) take(v map[string]any) error {
	if v["data"] == nil {
		if n, ok := v["lost"].(float64); ok {
			s.lost += uint64(n)
		}
		return s.a.aside(v)
	}
	data, err := base64.StdEncoding.DecodeString(text(v, "data"))
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	f := readFrame(data)
	if !s.want.wants(f) {
		return nil
	}
	if s.out != nil {
		err = s.write(v, data)
	} else {
		err = s.show(v, f)
	}
	if s.n++; err == nil && s.most > 0 && s.n >= s.most {
		err = errEnough
	}
	return err
}

func (s *captureSink) write(v map[string]any, data []byte) error {
	at, err := time.Parse(time.RFC3339Nano, text(v, "time"))
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	length, _ := v["length"].(float64)
	in, _ := v["in"].(bool)
	_, err = s.out.Write(pcapng.Append(nil, pcapng.Packet{Time: at, In: in, Len: uint32(length), Data: data, Comment: verdictText(v)}))
	return err
}

// verdictText says what became of a packet in one line.
func verdictText(v map[string]any) string {
	direction := "out"
	if in, _ := v["in"].(bool); in {
		direction = "in"
	}
	words := []string{direction, text(v, "action")}
	for _, k := range []string{"reason", "rule"} {
		if w := text(v, k); w != "" {
			words = append(words, w)
		}
	}
	if group := text(v, "group"); group != "" {
		words = append(words, "of", group)
	}
	if v["revision"] != nil {
		words = append(words, "since revision", cell(v["revision"]))
	}
	return strings.Join(words, " ")
}

func (s *captureSink) show(v map[string]any, f frame) error {
	if s.rows == nil {
		s.rows = &rowPrinter{a: s.a, columns: []column{{"Time", "time"}, {"Host", "host"}, {"Protocol", "protocol"}, {"Source", "source"}, {"Port", "sourcePort"}, {"Destination", "destination"},
			{"Port", "destinationPort"}, {"Length", "length"}, {"Verdict", "verdict"}}}
	}
	v["protocol"], v["verdict"] = f.name, verdictText(v)
	if f.src.IsValid() {
		v["source"], v["destination"] = f.src.String(), f.dst.String()
	}
	if f.hasPorts {
		v["sourcePort"], v["destinationPort"] = float64(f.sport), float64(f.dport)
	}
	return s.rows.print(v)
}

func (s *captureSink) close() error {
	fmt.Fprintf(s.a.err, "ringfence: %d packets captured, %d lost\n", s.n, s.lost)
	if s.out == nil {
		return nil
	}
	_, err := s.out.Write(pcapng.Lost(time.Now(), s.lost))
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}
