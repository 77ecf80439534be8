package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Process is a program that the lab started. PID and start time together name it for ever: a number that was given to somebody else later
// has another start time.
type Process struct {
	Name   string `json:"name"` // server, or the host whose agent it is
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"` // clock ticks since boot
	Config string `json:"config"`
	Log    string `json:"log"`
}

// Running says whether the process is alive.
func (p Process) Running() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// startTime reads when a process began, in ticks since boot; zombies count as gone.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b[max(0, bytes.LastIndexByte(b, ')')):]), ") ")
	fields := strings.Fields(rest) // from field 3, the state
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("process %d: unreadable status", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// program is a process of this lab that is being started; exited is closed when it ends while Up waits.
type program struct {
	Process
	exited chan struct{}
	status error
}

// launch starts binary in the namespace ns ("" for the machine's own) in a session of its own, with its output in a log file.
func launch(name, binary, ns, config, logFile string, args ...string) (*program, error) {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer out.Close()
	cmd := exec.Command(binary, append(args, "--config", config)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := netns.Do(ns, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &program{Process: Process{Name: name, PID: cmd.Process.Pid, Config: config, Log: logFile}, exited: make(chan struct{})}
	p.Start, err = startTime(p.PID)
	go func() {
		p.status = cmd.Wait()
		close(p.exited)
	}()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// logTail returns the last lines of a log file.
func logTail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const enough = 4096
	if st, err := f.Stat(); err == nil && st.Size() > enough {
		f.Seek(-enough, io.SeekEnd)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// owned finds the lab's processes: the recorded ones that still are who they were, those whose configuration lies in the lab's run
// directory (started, but not yet recorded when Up died), and whatever runs inside the lab's namespaces.
func owned(name string, recorded []Process) ([]int, error) {
	spaces, err := netns.List(netnsPrefix(name))
	if err != nil {
		return nil, err
	}
	pids, err := netns.Processes(spaces...)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || slices.Contains(pids, pid) {
			continue
		}
		match := func(p Process) bool { return p.PID == pid && p.Running() }
		if slices.ContainsFunc(recorded, match) || configured(name, pid) {
			pids = append(pids, pid)
		}
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() }), nil
}

// configured says whether the process was started with a configuration file of this lab.
func configured(name string, pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(b), "\x00")
	i := slices.Index(args, "--config")
	return i >= 0 && i+1 < len(args) && strings.HasPrefix(args[i+1], runDir(name)+string(filepath.Separator))
}

// grace is how long a process may take to end by itself, and again when it is killed.
const grace = 3 * time.Second

// stop ends processes: asked first, then killed.
func stop(find func() ([]int, error)) error {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := netns.Signal(find, signal, grace); err != nil {
			return err
		}
	}
	left, err := find()
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("processes %v did not end", left)
	}
	return err
}
