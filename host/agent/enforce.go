package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"ringfence/goal"
	"ringfence/host/sandbox"
)

// apply brings the kernel to the current goal and acknowledges. What fails is tried again; the rest is enforced meanwhile.
func (a *Agent) apply(ctx context.Context) {
	if a.current == nil {
		return
	}
	began := time.Now()
	a.answers.name(a.current)
	a.pulse.begin(a.current)
	applied, err := a.enforce(ctx)
	if ctx.Err() != nil {
		return
	}
	if applied {
		err = errors.Join(err, a.prove())
	}
	a.inForce = applied
	a.retryAt, a.resyncAt, a.proveAt = time.Time{}, time.Now().Add(resyncEvery), time.Now().Add(proveEvery)
	problem := ""
	if err == nil {
		a.failed = 0
	} else {
		problem = err.Error()
		a.failed = min(max(2*a.failed, firstRetry), lastRetry)
		a.retryAt = time.Now().Add(a.failed)
		a.Log.Error("goal is not enforced", "generation", a.current.Generation, "error", err, "again in", a.failed)
	}
	a.Stream.Ack(a.current.Generation, problem)
	a.pulse.end(time.Since(began), problem)
	a.Log.Debug("enforced", "generation", a.current.Generation, "took", time.Since(began), "problem", problem)
	a.configure()
	if applied {
		a.tidy()
	}
	a.show()
	a.changed()
}

// configure has the guests of ports with devices configured. While a port is closed its guest gets no answer; the next attempt then
// does not wait any longer than the port.
func (a *Agent) configure() {
	want := make(map[uint32]goal.Port, len(a.current.Ports))
	for _, p := range a.current.Ports {
		if _, ok := a.devices[p.Index]; ok {
			want[p.Index] = p
		}
	}
	a.guests.want(want)
	a.guests.table.Hurry()
}

// enforce is the order that never opens a hole: a port index that names another NIC now is closed first; devices are made and
// attached while their ports drop; then the tables are flipped; then the services speak. A port whose device or policy cannot be made stays
// closed, the others go on: applied says that the tables are the goal's.
func (a *Agent) enforce(ctx context.Context) (applied bool, err error) {
	if a.serving == nil {
		a.serving, err = a.Fabric.Ensure()
		a.pulse.serve(a.serving)
		if err != nil {
			return false, err
		}
	}
	if err := a.closeReused(ctx); err != nil {
		return false, err
	}
	var faults []error
	for i := range a.current.Ports {
		if err := a.ensure(&a.current.Ports[i]); err != nil {
			faults = append(faults, fmt.Errorf("port of %s: %w", a.current.Ports[i].ID, err))
		}
	}
	err = a.Datapath.Apply(ctx, a.current, a.device)
	for port, d := range a.devices {
		a.setReady(port, d)
	}
	a.serving.Set(a.current)
	if err != nil {
		return false, errors.Join(append(faults, fmt.Errorf("program the kernel: %w", err))...)
	}
	return true, errors.Join(append(faults, a.serving.Problem())...)
}

func (a *Agent) device(port uint32) (int, bool) {
	d, ok := a.devices[port]
	return d.index, ok
}

// reused tells whether a port's index named another NIC before; a fresh agent asks the kernel.
func (a *Agent) reused(p *goal.Port) (bool, error) {
	if d, ok := a.devices[p.Index]; ok {
		return d.owner != ownerOf(p), nil
	}
	return a.Sandboxes.Foreign(*p)
}

// closeReused takes ports out of force whose index now names another NIC, before anything is done for the new one.
func (a *Agent) closeReused(ctx context.Context) error {
	without := *a.current
	without.Ports = nil
	var reused []uint32
	for i := range a.current.Ports {
		p := &a.current.Ports[i]
		again, err := a.reused(p)
		if err != nil {
			return fmt.Errorf("port %d: %w", p.Index, err)
		}
		if again {
			reused = append(reused, p.Index)
			continue
		}
		without.Ports = append(without.Ports, *p)
	}
	if reused == nil {
		return nil
	}
	for i := range without.Ports { // a fresh agent does not know the devices of the others yet
		if err := a.ensure(&without.Ports[i]); err != nil {
			a.Log.Warn("make port", "port", without.Ports[i].Index, "error", err)
		}
	}
	if err := a.Datapath.Apply(ctx, &without, a.device); err != nil {
		return fmt.Errorf("close ports before their reuse: %w", err)
	}
	for _, index := range reused {
		if err := a.Sandboxes.Release(index); err != nil {
			return fmt.Errorf("release port %d before its reuse: %w", index, err)
		}
		if err := a.Datapath.DetachPort(index); err != nil {
			return fmt.Errorf("detach port %d before its reuse: %w", index, err)
		}
		delete(a.devices, index)
	}
	return nil
}

// ensure makes one port's device, attached before it comes up, when that was not done yet.
func (a *Agent) ensure(p *goal.Port) error {
	if d, ok := a.devices[p.Index]; ok && d.six == hasSix(p) {
		return nil
	}
	index, err := a.Sandboxes.Ensure(*p)
	if errors.Is(err, sandbox.ErrAbsent) {
		if a.absent[p.Index] != err.Error() {
			a.Log.Warn("attached port stays closed", "port", p.Index, "nic", p.ID, "error", err)
		}
		a.absent[p.Index] = err.Error()
		delete(a.devices, p.Index)
		return nil
	}
	if err != nil {
		return err
	}
	delete(a.absent, p.Index)
	a.devices[p.Index] = device{index: index, owner: ownerOf(p), six: hasSix(p)}
	return nil
}

// tidy removes what the enforced goal does not have: no table refers to it any more.
func (a *Agent) tidy() {
	gone, err := a.leftover()
	if err != nil {
		a.Log.Warn("list attached ports", "error", err)
		a.pruned = false
	}
	for _, index := range gone {
		if err := a.Sandboxes.Release(index); err != nil {
			a.Log.Warn("release port", "port", index, "error", err)
			continue // its programs stay: nothing of it may reach the host's own stack
		}
		if err := a.Datapath.DetachPort(index); err != nil {
			a.Log.Warn("detach port", "port", index, "error", err)
		}
		delete(a.devices, index)
		delete(a.absent, index)
	}
	if a.pruned && len(gone) == 0 {
		return
	}
	if err := a.Sandboxes.Prune(a.current.Ports); err != nil {
		a.Log.Warn("remove sandboxes", "error", err)
		a.pruned = false // again with the next goal or resync
		return
	}
	a.pruned = err == nil
}

// leftover lists the ports that are attached and not in the goal: of this process's making, and at first of an earlier one's. A port
// whose device could not be made just now is in the goal: it keeps its programs.
func (a *Agent) leftover() ([]uint32, error) {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a.devices)), maps.Keys(a.absent))
	var err error
	if !a.pruned {
		var pinned []uint32
		pinned, err = a.Datapath.Attached()
		all = append(all, pinned...)
	}
	wanted := make(map[uint32]bool, len(a.current.Ports))
	for i := range a.current.Ports {
		wanted[a.current.Ports[i].Index] = true
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(index uint32) bool { return wanted[index] }), err
}
