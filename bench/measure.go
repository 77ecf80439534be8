package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	loadBinary = "bin/load"
	loadPort   = 7000
)

// The ways between two machines.
const (
	oneHost  = "one host"
	twoHosts = "two hosts"
)

// loads are the load generator's modes, with the unit of their rate.
var loads = []struct{ mode, title, unit string }{
	{"crr", "connect-request-close", "/s"},
	{"rr", "TCP_RR", "/s"},
	{"stream", "TCP stream", "Gbit/s"},
	{"udp", "UDP 64 B", "pps"},
}

// contender is a pair of ends that the load generator runs between.
type contender struct {
	name   string // ringfence-1000, linux …
	path   string // oneHost or twoHosts
	client []string
	server []string // the command prefix that enters an end: ip netns exec X, ringfence vm exec X --
	addr   string   // the server's
	proc   *exec.Cmd
}

// sample is one slice: one load on one contender.
type sample struct {
	contender, mode string
	round           int
	Rate            float64 `json:"rate"`
	Errors          int     `json:"errors"`
}

func absLoad() string {
	p, err := filepath.Abs(loadBinary)
	if err != nil {
		return loadBinary
	}
	return p
}

// serveAll starts the servers; they idle until their contender's turn.
func serveAll(list []*contender) error {
	for _, c := range list {
		args := append(append([]string{}, c.server...), absLoad(), "serve", c.addr, strconv.Itoa(loadPort), "1")
		c.proc = exec.Command(args[0], args[1:]...)
		c.proc.Stderr = os.Stderr
		c.proc.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
		out, err := c.proc.StdoutPipe()
		if err != nil {
			return fmt.Errorf("serve %s: %w", c.name, err)
		}
		if err := c.proc.Start(); err != nil {
			return fmt.Errorf("serve %s: %w", c.name, err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != "ready" {
			return fmt.Errorf("serve %s over %s: said %q: %w", c.name, c.path, line, err)
		}
	}
	return nil
}

// stopAll ends the servers with their children, which are a session and a process group of their own.
func stopAll(list []*contender) {
	for _, c := range list {
		if c.proc != nil && c.proc.Process != nil {
			_ = syscall.Kill(-c.proc.Process.Pid, syscall.SIGKILL)
			_ = c.proc.Wait()
		}
	}
}

// measure takes every slice of every round. What is compared runs in a row: a round goes through loads and paths in an order
// shuffled anew, and in each through the contenders, shuffled too, so that what else the machine does at the moment hits all alike.
// A contender that fails has a sample with errors, and the run goes on.
func measure(ctx context.Context, cfg config, list []*contender) ([]sample, error) {
	type bout struct{ mode, path string }
	var bouts []bout
	for _, l := range loads {
		for _, path := range []string{oneHost, twoHosts} {
			if strings.Contains(l.mode+" "+path, cfg.only) {
				bouts = append(bouts, bout{l.mode, path})
			}
		}
	}
	var all []sample
	for round := range cfg.rounds {
		progress(fmt.Sprintf("round %d of %d", round+1, cfg.rounds))
		rand.Shuffle(len(bouts), func(i, j int) { bouts[i], bouts[j] = bouts[j], bouts[i] })
		for _, b := range bouts {
			turns := slices.Clone(list)
			rand.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
			for _, c := range turns {
				if c.path != b.path {
					continue
				}
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				s := c.run(ctx, b.mode, cfg.slice)
				s.round = round
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// run is one slice.
func (c *contender) run(ctx context.Context, mode string, slice time.Duration) sample {
	s := sample{contender: c.path + "|" + c.name, mode: mode}
	ctx, cancel := context.WithTimeout(ctx, slice+15*time.Second)
	defer cancel()
	args := append(append([]string{}, c.client...), absLoad(), "run", mode, c.addr, strconv.Itoa(loadPort), fmt.Sprint(slice.Seconds()), "0")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a session of its own: see the load generator's priority
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		s.Errors++
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		fmt.Fprintf(os.Stderr, "bench: %s, %s, %s: %v\n", c.name, c.path, mode, err)
	}
	if mode == "stream" {
		s.Rate *= 8 / 1e9
	}
	return s
}
