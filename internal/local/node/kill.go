package node

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// KillAll ends every process that is left in the pod's network namespace, also
// those that left their process group, and waits until they are gone.
func (s *Sandbox) KillAll() error {
	var want unix.Stat_t
	if err := unix.Fstat(int(s.ns.net.Fd()), &want); err != nil {
		return fmt.Errorf("look at network namespace of pod %s: %w", s.cfg.Name, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids := processesIn(want.Ino)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of pod %s do not end", pids, s.cfg.Name)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // nothing tells when another's child is gone
	}
}

// processesIn lists the processes whose network namespace is the given one.
// Zombies have none, so they are not among them.
func processesIn(inode uint64) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+e.Name()+"/ns/net", &st) == nil && st.Ino == inode {
			pids = append(pids, pid)
		}
	}
	return pids
}
