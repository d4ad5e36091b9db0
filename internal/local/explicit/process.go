package explicit

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Variables by which the processes of a mesh and of a pod are known. Children
// inherit them.
const (
	variableMesh = "MESHCTL_LOCAL_MESH"
	variablePod  = "MESHCTL_LOCAL_POD"
)

func meshMark(dir string) string { return variableMesh + "=" + filepath.Clean(dir) }

func podMark(name, uid string) string { return variablePod + "=" + name + " " + uid }

// process is one process of this machine, as it was when it was looked at.
type process struct {
	pid, parent, session int
	start                string // since boot, in clock ticks; with pid it is unique
	environ              []byte // empty when it is not ours to read
}

// has reports whether a variable was in the environment that the process was
// started with.
func (p process) has(variable string) bool {
	for v := range bytes.SplitSeq(p.environ, []byte{0}) {
		if string(v) == variable {
			return true
		}
	}
	return false
}

// pod is the namespace/name of the pod that the process is in; "" for none.
func (p process) pod() string {
	for v := range bytes.SplitSeq(p.environ, []byte{0}) {
		if rest, ok := strings.CutPrefix(string(v), variablePod+"="); ok {
			name, _, _ := strings.Cut(rest, " ")
			return name
		}
	}
	return ""
}

// processes lists what runs; zombies have ended and are not among them.
func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := look(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// look reads one process; false when there is none, or a zombie.
func look(pid int) (process, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return process{}, false
	}
	// pid (name) state ppid pgrp session …; the name may hold anything (proc_pid_stat(5)).
	text := string(b)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return process{}, false
	}
	p := process{pid: pid, start: f[19]}
	p.parent, _ = strconv.Atoi(f[1])
	p.session, _ = strconv.Atoi(f[3])
	p.environ, _ = os.ReadFile(dir + "/environ") // of others: not ours to read
	return p, true
}

// startTime is when a process was started; "" when there is none.
func startTime(pid int) string {
	p, _ := look(pid)
	return p.start
}

// killPatience is how long processes may take to end that were killed.
const killPatience = 10 * time.Second

// killAll kills the processes that are meant, again and again while there are
// any, and returns those that do not end. It never kills the caller.
func killAll(meant func(process) bool) []int {
	deadline := time.Now().Add(killPatience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		var left []int
		for _, p := range processes() {
			if p.pid != os.Getpid() && meant(p) {
				left = append(left, p.pid)
				p.kill()
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// kill ends the process unless its number is another's by now.
func (p process) kill() {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		if startTime(p.pid) == p.start { // a kernel without descriptors of processes
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		return
	}
	defer unix.Close(fd)
	if startTime(p.pid) == p.start {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// Guard makes the calling process take in orphans of the mesh, so that they can
// be found below it.
func Guard() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Mark is the variable that marks the processes of the mesh whose files are in dir.
func Mark(dir string) string { return meshMark(dir) }

// Sweep kills every process that a mesh has left, and everything below the
// caller, except the caller itself. It returns those that do not end. The mesh
// must not be running: whoever calls it holds its lock, or is its last process.
func Sweep(dir string) []int {
	recorded := newRecord(dir).read()
	mark := meshMark(dir)
	return killAll(func(p process) bool {
		start, known := recorded[p.pid]
		if p.has(mark) || known && start == p.start {
			return true
		}
		// What a recorded leader has left in its session.
		_, known = recorded[p.session]
		return known && p.pid != p.session && startTime(p.session) == ""
	})
}

// SweepBelow is Sweep for a process that has called Guard: it also kills all
// that is below it.
func SweepBelow(dir string) []int {
	left := Sweep(dir)
	return append(left, killAll(func(p process) bool { return slices.Contains(ancestors(p), os.Getpid()) })...)
}

// ancestors are the processes above one, the nearest first.
func ancestors(p process) []int {
	var all []int
	for ok := true; ok && p.parent > 0 && !slices.Contains(all, p.parent); p, ok = look(p.parent) {
		all = append(all, p.parent)
	}
	return all
}
