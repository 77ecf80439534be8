// Command bench measures Ringfence beside what a user would pick instead: plain Linux routing without a firewall, and the same
// with nftables and the same rules.
//
// In: bin/ringfence and bench/load/load.c. Out: a table, and bench/results.json. One load generator for all contenders; the
// contenders take turns, one right after the other and in an order shuffled anew every time, in one run on one machine; figures are medians over the rounds,
// and ratios are medians of the ratios within a round. The product is only used through its command line and its API.
//
// BENCH_ONLY=guests measures what machines wait for, BENCH_ONLY=verify what the verifier takes, and nothing else; other words are found in
// load and path of the bouts that are run, as "stream two". BENCH_SHORT=1 takes a minute and writes no file: it shows that the benchmark works, not how fast anything is.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// config is how long to measure.
type config struct {
	rounds  int
	slice   time.Duration // one load on one contender
	control int           // repetitions of the control plane's figures
	rules   int           // rules of the large NSG
	results string        // "" writes none
	only    string        // of the bouts of traffic those whose load and path contain this; "": all
}

func configured() config {
	if only := os.Getenv("BENCH_ONLY"); only != "" && only != "guests" && only != "verify" {
		return config{rounds: 21, slice: 300 * time.Millisecond, control: 1, rules: 1000, only: only}
	}
	if os.Getenv("BENCH_SHORT") != "" {
		return config{rounds: 3, slice: 150 * time.Millisecond, control: 3, rules: 1000}
	}
	return config{rounds: 21, slice: 300 * time.Millisecond, control: 11, rules: 1000, results: "bench/results.json"}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, configured())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg config) (err error) {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the benchmark makes network namespaces: run it as root")
	}
	release, err := alone()
	if err != nil {
		return err
	}
	defer release()
	if os.Getenv("BENCH_ONLY") == "guests" {
		return onlyGuests(ctx, cfg)
	}
	if os.Getenv("BENCH_ONLY") == "verify" {
		ps, err := proofs(ctx, cfg)
		printProofs(os.Stdout, ps)
		return err
	}
	if out, err := exec.Command("gcc", "-O2", "-Wall", "-o", loadBinary, "bench/load/load.c").CombinedOutput(); err != nil {
		return fmt.Errorf("compile the load generator: %w\n%s", err, out)
	}
	started := time.Now()
	progress("lab with two hosts")
	fab, err := newFabric(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { fab.close() }()
	progress("control plane")
	control, err := fab.controlPlane(ctx, cfg)
	if err != nil {
		return err
	}
	progress("guests")
	guests, err := fab.guestsOf(ctx, cfg)
	if err != nil {
		return err
	}
	progress("verifier")
	verifier, err := proofs(ctx, cfg)
	if err != nil {
		return err
	}
	progress("plain Linux with and without nftables")
	plain, err := newPlain(cfg)
	if err != nil {
		return err
	}
	defer func() { plain.close() }()

	contenders := append(plain.contenders(), fab.contenders()...)
	slices.SortStableFunc(contenders, func(a, b *contender) int { return strings.Compare(a.path, b.path) })
	if err := serveAll(contenders); err != nil {
		return err
	}
	defer stopAll(contenders)
	samples, err := measure(ctx, cfg, contenders)
	if err != nil {
		return err
	}
	rep := newReport(cfg, started, contenders, samples, control)
	rep.Guests, rep.Verifier = guests, verifier
	rep.Compared = ruleCount(cfg, samples)
	if cfg.only == "" {
		progress("rules that are replaced all the time")
		churn, err := fab.replaced(ctx, cfg)
		if err != nil {
			return err
		}
		rep.Compared = append(rep.Compared, churn)
		stopAll(contenders)
		fab.close()
		progress("program test runs")
		if rep.Programs, err = programs(ctx, cfg); err != nil {
			return err
		}
		rep.Seconds = time.Since(started).Round(time.Second).Seconds()
	}
	rep.print(os.Stdout)
	rep.printMore(os.Stdout)
	if err := rep.problem(); cfg.only == "" && err != nil || cfg.results == "" {
		return err
	}
	return rep.write(cfg.results)
}

// alone waits until no other benchmark runs on this machine: its lab has one name, and its figures would mean nothing.
func alone() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "ringfence-bench.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return func() { f.Close() }, nil
}

func progress(what string) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), what)
}
