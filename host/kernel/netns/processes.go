package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Processes lists the processes whose first thread is inside one of the named namespaces. The caller's own namespace and the machine's
// never count, even where a name stands for them.
func Processes(names ...string) ([]int, error) {
	inside := map[uint64]bool{}
	for _, name := range names {
		if !Exists(name) {
			continue
		}
		ino, err := Inode(name)
		if err != nil {
			return nil, err
		}
		inside[ino] = true
	}
	for _, path := range []string{"/proc/self/ns/net", "/proc/thread-self/ns/net", "/proc/1/ns/net"} {
		if ino, err := Inode(path); err == nil {
			delete(inside, ino)
		}
	}
	if len(inside) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ino, err := Inode(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && inside[ino] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// patience is how long a killed process may take to be gone.
const patience = 2 * time.Second

// Kill ends every process inside the named namespaces at once and waits until they are gone.
func Kill(names ...string) error {
	return Signal(func() ([]int, error) { return Processes(names...) }, unix.SIGKILL, patience)
}

// Signal sends sig to the processes that find returns and waits until they have ended, at most as long as wait. A descriptor holds
// each process between two calls of find: what is held and found again is the process that was meant, though numbers are given anew.
func Signal(find func() ([]int, error), sig unix.Signal, wait time.Duration) error {
	pids, err := find()
	if err != nil || len(pids) == 0 {
		return err
	}
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil { // else it is gone
			held[pid] = fd
		}
	}
	still, err := find()
	if err != nil {
		return err
	}
	var ending []unix.PollFd
	for _, pid := range still {
		fd, ok := held[pid]
		if !ok {
			continue
		}
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		ending = append(ending, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return await(ending, time.Now().Add(wait))
}

// await waits until every held process has ended, or the deadline.
func await(held []unix.PollFd, deadline time.Time) error {
	for len(held) > 0 {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		if _, err := unix.Poll(held, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for processes: %w", err)
		}
		alive := held[:0]
		for _, p := range held {
			if p.Revents == 0 {
				alive = append(alive, p)
			}
		}
		held = alive
	}
	return nil
}
