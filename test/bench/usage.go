package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process has used since it began.
type usage struct {
	CPU       time.Duration // all its threads, by the scheduler's clock
	User, Sys time.Duration // by the same clock, split by ticks
	Switches  uint64        // voluntary context switches
}

func (u usage) minus(o usage) usage {
	return usage{CPU: u.CPU - o.CPU, User: u.User - o.User, Sys: u.Sys - o.Sys, Switches: u.Switches - o.Switches}
}

// tick is the unit of /proc/PID/stat (USER_HZ, 100 on every architecture Go runs on).
const tick = 10 * time.Millisecond

// readUsage adds up the threads of a process. Threads that have ended are in the
// process's own sums (stat) only, so the larger of the two counts.
func readUsage(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("read processor time: %w", err)
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return u, fmt.Errorf("read processor time of %d: unexpected form", pid)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	sys, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return u, fmt.Errorf("read processor time of %d: unexpected form", pid)
	}
	u.User, u.Sys = time.Duration(user)*tick, time.Duration(sys)*tick
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return u, err
	}
	for _, t := range tasks {
		u.CPU += taskTime(t)
		u.Switches += taskSwitches(t)
	}
	if u.CPU < u.User+u.Sys-tick {
		u.CPU = u.User + u.Sys
	}
	return u, nil
}

// taskTime is 0 for a thread that has just ended.
func taskTime(dir string) time.Duration {
	b, err := os.ReadFile(dir + "/schedstat")
	if err != nil {
		return 0
	}
	ns, _, _ := strings.Cut(string(b), " ")
	n, err := strconv.ParseInt(ns, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}

func taskSwitches(dir string) uint64 {
	n, _ := statusField(dir+"/status", "voluntary_ctxt_switches:")
	return n
}

// statusField reads a number of a status file.
func statusField(path, name string) (uint64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			f := strings.Fields(rest)
			if len(f) == 0 {
				return 0, false
			}
			n, err := strconv.ParseUint(f[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// resident is the memory of a process, in bytes.
type resident struct{ Total, Anonymous uint64 }

func readResident(pid int) (resident, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	total, ok1 := statusField(path, "VmRSS:")
	anon, ok2 := statusField(path, "RssAnon:")
	if !ok1 || !ok2 {
		return resident{}, fmt.Errorf("read memory of %d: not in %s", pid, path)
	}
	return resident{Total: total << 10, Anonymous: anon << 10}, nil
}

// busy is how long a processor has not been idle, all processes together.
func busy(cpu int) time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != fmt.Sprintf("cpu%d", cpu) {
			continue
		}
		var sum int64
		for _, i := range []int{1, 2, 3, 6, 7, 8} { // user nice system irq softirq steal
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return 0
			}
			sum += n
		}
		return time.Duration(sum) * tick
	}
	return 0
}
