//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
)

// stat reads fields 3 and on of proc_pid_stat(5): [0] is the state, [1] the
// parent, [19] the start time, which tells a process from a later one of its number.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	text := string(b)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

// descendants are a process and all below it, with their start times.
func descendants(t *testing.T, root int) map[int]string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	children, started := map[int][]int{}, map[int]string{}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if f := stat(pid); len(f) > 19 {
			parent, _ := strconv.Atoi(f[1])
			children[parent] = append(children[parent], pid)
			started[pid] = f[19]
		}
	}
	all := map[int]string{}
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		all[queue[0]] = started[queue[0]]
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

func alive(pid int, started string) bool {
	f := stat(pid)
	return len(f) > 19 && f[0] != "Z" && f[0] != "X" && f[19] == started
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // a process that has gone has none
	return strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " ")
}

// programs are the processes of a pod whose command line has the word.
func (m *mesh) programs(t *testing.T, pod api.Pod, word string) []int {
	t.Helper()
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for pid := range descendants(t, s.PID) {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !strings.Contains(commandLine(pid), word) {
			continue
		}
		vars := strings.Split(string(env), "\x00")
		if slices.Contains(vars, "HOSTNAME="+pod.Name) || slices.Contains(vars, "POD_NAME="+pod.Name) {
			out = append(out, pid)
		}
	}
	return out
}

// A killed program, and a killed sidecar, come back and serve again.
func testKill(t *testing.T, m *mesh) {
	for _, victim := range []struct{ word, container string }{{"bookinfo", "details"}, {"meshproxy", "istio-proxy"}} {
		pod := m.pod(t, "details-v1")
		restarts := func(p api.Pod) int {
			for _, c := range p.Containers {
				if c.Name == victim.container {
					return c.Restarts
				}
			}
			return -1
		}
		before := restarts(pod)
		pids := m.programs(t, pod, victim.word)
		if len(pids) == 0 {
			t.Fatalf("no process of %s is %s", pod.Name, victim.word)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		m.await(t, victim.container+" to be started again", func(s api.Status) bool {
			i := slices.IndexFunc(s.Pods, func(p api.Pod) bool { return p.Name == pod.Name })
			return i >= 0 && restarts(s.Pods[i]) > before && s.Pods[i].Ready && s.State == api.Ready
		})
		eventually(t, "the page with its details", func() error {
			if a := m.get(t, "/productpage"); a.header.Get("X-Bookinfo-Details") != "v1" {
				return errorOf("details are of %q", a.header.Get("X-Bookinfo-Details"))
			}
			return nil
		})
	}
}

// ourInterface are the names that a mesh gives; others have theirs.
var ourInterface = regexp.MustCompile(`^(veth[0-9a-f]{1,8}|mesh\d+)$`)

// Nothing is left: no process, port, file or name.
func testDown(t *testing.T, m *mesh) {
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pids := descendants(t, s.PID)
	if len(pids) < 15 { // host side, node, six programs and seven proxies at least
		t.Errorf("the mesh is only %d processes", len(pids))
	}
	m.run(t, "down", "--name", m.name)
	for pid, started := range pids {
		if pid == s.PID { // its very last act is to remove the files
			eventually(t, "the end of the host-side process", func() error {
				if alive(pid, started) {
					return errorOf("process %d: %s", pid, commandLine(pid))
				}
				return nil
			})
			continue
		}
		if alive(pid, started) {
			t.Errorf("process %d is left: %s", pid, commandLine(pid))
		}
	}
	for _, p := range s.Publications {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", p.Address)
		if err == nil {
			conn.Close()
			t.Errorf("port %s still answers", p.Address)
		}
	}
	if _, err := os.Stat(m.Paths.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files are left in %s: %v", m.Paths.Dir, err)
	}
	if _, err := local.Open(context.WithoutCancel(t.Context()), m.name); err == nil {
		t.Error("the mesh can still be opened")
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if ourInterface.MatchString(i.Name) {
			t.Errorf("interface %s is on the machine", i.Name)
		}
	}
	if out, talk, err := m.try(t, "down", "--name", m.name); err != nil {
		t.Errorf("a second down: %v\n%s%s", err, out, talk)
	}
}
