package explicit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// record is a file with the processes that were started, for whoever has to end
// them when nobody else is left. It is needed for programs that overwrite the
// environment in which their mark is.
type record struct {
	path string

	mu   sync.Mutex
	pids map[int]string // start times
}

const recordFile = "processes"

func newRecord(dir string) *record {
	return &record{path: filepath.Join(dir, recordFile), pids: map[int]string{}}
}

func (r *record) add(pid int, start string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pids[pid] = start
	r.write()
}

func (r *record) remove(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pids, pid)
	r.write()
}

// write replaces the file. Without it the marks must do.
func (r *record) write() {
	var b bytes.Buffer
	for pid, start := range r.pids {
		fmt.Fprintln(&b, pid, start)
	}
	tmp := r.path + ".new"
	if os.WriteFile(tmp, b.Bytes(), 0o600) == nil {
		_ = os.Rename(tmp, r.path)
	}
}

// read is what another process has recorded: start times by number.
func (r *record) read() map[int]string {
	b, err := os.ReadFile(r.path)
	if err != nil {
		return nil
	}
	all := map[int]string{}
	for line := range strings.Lines(string(b)) {
		number, start, ok := strings.Cut(strings.TrimSpace(line), " ")
		if pid, err := strconv.Atoi(number); ok && err == nil && pid > 1 {
			all[pid] = start
		}
	}
	return all
}
