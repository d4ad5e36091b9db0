// Package process does what the first process of a PID namespace must do for
// all others: it takes in processes whose parents are gone.
package process

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// orphanAge is how long a zombie must be seen before it counts as an orphan. Our
// own children are waited for at once by whoever started them, and must not be
// taken away from there.
const orphanAge = 2 * time.Second

// ReapOrphans takes in orphans until ctx ends. Call it in process 1 only.
func ReapOrphans(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	first := map[int]time.Time{}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-died:
		case <-again.C:
		}
		now := time.Now()
		seen := map[int]time.Time{}
		for _, pid := range zombies() {
			since, known := first[pid]
			if !known {
				since = now
			}
			if now.Sub(since) >= orphanAge {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
				continue
			}
			seen[pid] = since
		}
		first = seen
		if len(first) > 0 {
			again.Reset(orphanAge / 2)
		}
	}
}

// zombies lists our children that have ended and nobody has waited for.
func zombies() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	self := strconv.Itoa(os.Getpid())
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid …; the name may hold anything, so look behind it.
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) > 1 && fields[0] == "Z" && fields[1] == self {
			pids = append(pids, pid)
		}
	}
	return pids
}
