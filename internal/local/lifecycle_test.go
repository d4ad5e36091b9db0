package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/localtest"
)

const troubled = basics + `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: dies, namespace: default}
spec:
  selector: {matchLabels: {app: dies}}
  template:
    metadata: {labels: {app: dies}}
    spec: {containers: [{name: dies, image: example/crash:1}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: unknown, namespace: default}
spec:
  selector: {matchLabels: {app: unknown}}
  template:
    metadata: {labels: {app: unknown}}
    spec: {containers: [{name: c, image: "nginx:1.27"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job, namespace: default}
spec:
  template:
    metadata: {labels: {app: job}}
    spec: {restartPolicy: Never, containers: [{name: c, image: example/once:1}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {greeting: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: files, namespace: default, labels: {app: files}}
spec:
  initContainers: [{name: first, image: example/once:1}]
  containers:
  - name: web
    image: example/web:1
    env: [{name: PORT, value: "80"}, {name: VERSION, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}]
    readinessProbe: {exec: {command: [cat, /etc/settings/greeting]}}
    volumeMounts: [{name: s, mountPath: /etc/settings, readOnly: true}, {name: e, mountPath: /scratch/deep}]
  volumes: [{name: s, configMap: {name: settings}}, {name: e, emptyDir: {}}]
`

// What fails is reported with its reason; the rest runs.
func TestTroubledWorkloads(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "troubled", troubled)
		if m.status.State != api.Degraded {
			t.Errorf("state %s", m.status.State)
		}
		// A slow machine may take longer to die than the time of probation.
		m.status = m.await("failures", func(s api.Status) bool {
			return len(s.Failed) == 2 && slices.ContainsFunc(s.Pods, func(p api.Pod) bool { return p.Phase == "Succeeded" })
		})
		failed := strings.Join(m.status.Failed, "\n")
		for _, want := range []string{
			"container dies exited with code 1; last output:\nno such table: users",
			`no local program stands for image "nginx:1.27" of container "c"`,
		} {
			if !strings.Contains(failed, want) {
				t.Errorf("no %q in:\n%s", want, failed)
			}
		}
		phases := map[string]string{}
		for _, p := range m.status.Pods {
			phases[p.Labels["app"]] = fmt.Sprint(p.Phase, " ", p.Ready)
		}
		for app, want := range map[string]string{"web": "Running true", "job": "Succeeded false", "files": "Running true", "unknown": ""} {
			if phases[app] != want {
				t.Errorf("%s is %q, want %q", app, phases[app], want)
			}
		}
		r, err := m.Exec(t.Context(), "default", "files", api.ExecRequest{Command: []string{"sh", "-c", "cat /etc/settings/greeting; touch /scratch/deep/x && echo; touch /etc/settings/x 2>/dev/null || echo read-only"}})
		if err != nil || string(r.Stdout) != "hello\nread-only\n" {
			t.Errorf("files: %q %q %v", r.Stdout, r.Stderr, err)
		}
		// A program that leaves its process group and keeps the output open holds
		// nothing up, and ends with its pod.
		began := time.Now()
		r, err = m.Exec(t.Context(), "default", "files", api.ExecRequest{Command: []string{"sh", "-c", "setsid sleep 987654 & echo left"}})
		if err != nil || string(r.Stdout) != "left\n" {
			t.Errorf("escape: %q %v after %s", r.Stdout, err, time.Since(began))
		}
		if err := m.Restart(t.Context(), "default", "files"); err != nil {
			t.Fatal(err)
		}
		m.await("the escaped program's end", func(s api.Status) bool {
			for pid := range descendants(t, m.status.PID) {
				if program(pid) == "sleep 987654" {
					return false
				}
			}
			return true
		})
		if _, err := os.Stat("/scratch"); !errors.Is(err, os.ErrNotExist) {
			t.Error("a mount point was made on the machine itself")
		}
	})
}

// descendants lists a process and all below it, with their start times, which
// tell a process from a later one of the same number.
func descendants(t *testing.T, root int) map[int]string {
	t.Helper()
	children, started := map[int][]int{}, map[int]string{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
		started[pid] = fields[19]
	}
	all := map[int]string{}
	queue := []int{root}
	for len(queue) > 0 {
		pid := queue[0]
		queue = append(queue[1:], children[pid]...)
		all[pid] = started[pid]
	}
	return all
}

func alive(pid int, started string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	return fields[0] != "Z" && fields[0] != "X" && fields[19] == started
}

func program(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " ")
}

// awaitGone waits until none of the processes is left.
func awaitGone(t *testing.T, pids map[int]string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var left []string
		for pid, started := range pids {
			if alive(pid, started) {
				left = append(left, fmt.Sprint(pid, " ", program(pid)))
			}
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("processes left: %v", left)
		}
	}
}

// Killing the host-side process or the node leaves no process and no port, and
// the next down, or up, cleans the files.
func TestKillLeavesNothing(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		for _, victim := range []string{"host", "node"} {
			t.Run(victim, func(t *testing.T) {
				m := start(t, "kill-"+victim, basics+gateway, proxied)
				address := strings.TrimPrefix(m.url("default/web"), "http://")
				pids := descendants(t, m.status.PID)
				if len(pids) < 7 { // host, node, two pods of two processes, gateway
					t.Fatalf("only %d processes", len(pids))
				}
				killed := 0
				for pid := range pids {
					if strings.HasPrefix(program(pid), "meshctl-local "+victim) {
						killed++
						if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
							t.Fatal(err)
						}
					}
				}
				if killed != 1 {
					t.Fatalf("%d processes are the %s", killed, victim)
				}
				awaitGone(t, pids)
				ln, err := net.Listen("tcp", address)
				if err != nil {
					t.Errorf("the published port is not free: %v", err)
				} else {
					ln.Close()
				}
				if victim == "host" {
					// up cleans, too.
					again, status, err := local.Start(t.Context(), local.Options{
						Settings: local.Settings{Name: m.name, Folder: m.status.Folder, Extra: []byte(`{}`)}, Timeout: time.Minute,
					})
					if err != nil || again == nil || status.State == api.Starting {
						t.Errorf("start again: %+v %v", status, err)
					}
					if _, err := local.Stop(context.Background(), m.name, 0); err != nil {
						t.Error(err)
					}
					return
				}
				stopped, err := local.Stop(context.Background(), m.name, 0)
				if err != nil || stopped.WasRunning {
					t.Errorf("stop: %+v %v", stopped, err)
				}
			})
		}
	})
}

func proxied(o *local.Options) { o.Extra = []byte(`{"Proxies": true}`) }

// A killed program or sidecar is started again, and the mesh goes on.
func TestKilledProgramsComeBack(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "back", basics+gateway, proxied)
		for _, name := range []string{"test-web", "test-proxy proxy sidecar", "test-proxy proxy router"} {
			for pid := range descendants(t, m.status.PID) {
				if strings.HasPrefix(program(pid), name) {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
			}
			m.await(name+" started again", func(s api.Status) bool {
				return s.State == api.Ready && slices.ContainsFunc(s.Pods, func(p api.Pod) bool {
					return slices.ContainsFunc(p.Containers, func(c api.Container) bool { return c.Restarts > 0 })
				})
			})
			m.await("traffic", func(api.Status) bool {
				return strings.HasPrefix(get(t, m.url("default/web")), "v1 ") && get(t, m.url("istio-system/istio-ingressgateway:80")) == "gateway"
			})
		}
	})
}

func TestDownLeavesNothing(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "down", basics+gateway, proxied)
		pids := descendants(t, m.status.PID)
		url := m.url("default/web")
		stopped, err := local.Stop(t.Context(), m.name, 0)
		if err != nil || !stopped.WasRunning || stopped.Killed {
			t.Errorf("stop: %+v %v", stopped, err)
		}
		for pid, started := range pids {
			if alive(pid, started) && pid != m.status.PID {
				t.Errorf("process %d is left: %s", pid, program(pid))
			}
		}
		awaitGone(t, pids)
		if _, err := http.Get(url); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the published port answers: %v", err)
		}
		if _, err := os.Stat(m.Paths.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("files are left: %v", err)
		}
		if stopped, err := local.Stop(t.Context(), m.name, 0); err != nil || stopped != (local.Stopped{}) {
			t.Errorf("second stop: %+v %v", stopped, err)
		}
		if _, err := local.Open(t.Context(), m.name); !errors.Is(err, local.ErrNotRunning) {
			t.Errorf("open: %v", err)
		}
	})
}

// Volumes over the folders that the proxy's files, another volume's content and the
// program are in: nothing is missing. (Istio's own Bookinfo has an empty folder at /tmp.)
func TestVolumesHideNothingOfOurs(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		objects := strings.Replace(basics, "      containers:\n", `      volumes: [{name: tmp, emptyDir: {}}, {name: sub, emptyDir: {}}, {name: words, configMap: {name: words}}]
      initContainers:
      - name: check
        image: example/check
        volumeMounts: [{name: tmp, mountPath: /tmp}, {name: words, mountPath: /words}, {name: sub, mountPath: /tmp/sub}]
      containers:
`, 1) + `---
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: default}
data: {hello: world}
`
		m := start(t, "hide", objects, proxied, func(o *local.Options) {
			// Below /tmp, as the folder of the test is.
			err := os.WriteFile(filepath.Join(o.Folder, "check"), []byte("#!/bin/sh\n[ $(cat /words/hello) = world ] && touch /tmp/sub/x\n"), 0o755)
			f, err2 := os.OpenFile(filepath.Join(o.Folder, "meshctl-local.yaml"), os.O_APPEND|os.O_WRONLY, 0)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fmt.Fprintln(f, "  example/check: {program: ./check}")
		})
		m.await("traffic", func(api.Status) bool { return strings.HasPrefix(get(t, m.url("default/web")), "v1 ") })
	})
}

// A port in use: the next one is taken, and the status says so. Two meshes run
// side by side.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		port := ln.Addr().(*net.TCPAddr).Port
		m := start(t, "port", basics, func(o *local.Options) { o.Publish.Ports = map[int]int{80: port} })
		p := m.status.Publications[0]
		if p.Wanted != port || p.Address == ln.Addr().String() || !strings.HasPrefix(get(t, m.url("default/web")), "v1 ") {
			t.Errorf("%+v", p)
		}
	})
}

// Run shows what happens, and stops the mesh with its context.
func TestRun(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		folder := t.TempDir()
		err := errors.Join(os.WriteFile(filepath.Join(folder, "objects.yaml"), []byte(basics), 0o644),
			os.WriteFile(filepath.Join(folder, "meshctl-local.yaml"), []byte("images: {\"example/web*\": {self: test-web}, bad: {}}"), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		kinds := map[string]int{}
		var status api.Status
		err = local.Run(ctx, local.Options{
			Settings: local.Settings{Name: fmt.Sprintf("run-%d", os.Getpid()), Folder: folder, Extra: []byte(`{}`)},
			Timeout:  time.Minute, Progress: func(e api.Event) { kinds[e.Kind]++ },
		}, func(s api.Status, err error) {
			status = s
			if err != nil {
				t.Error(err)
			}
			cancel()
		})
		if err != nil {
			t.Errorf("run: %v", err)
		}
		if kinds["NodeReady"] != 1 || kinds["PodReady"] != 2 || kinds["Published"] != 1 {
			t.Errorf("events %v", kinds)
		}
		if len(status.Diagnostics) != 1 || !strings.Contains(status.Diagnostics[0].Message, "exactly one of program, self, build and command") {
			t.Errorf("findings %v", status.Diagnostics)
		}
	})
}

func TestForegroundEndsWithItsCommand(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "foreground", basics, func(o *local.Options) { o.Foreground = true })
		pids := descendants(t, m.status.PID)
		if err := m.Release(); err != nil {
			t.Fatal(err)
		}
		awaitGone(t, pids)
	})
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	if _, _, err := local.Start(t.Context(), local.Options{Settings: local.Settings{Name: "../x"}}); err == nil {
		t.Error("a name with a path was taken")
	}
	localtest.AsEachUser(t, func(t *testing.T) {
		name := fmt.Sprintf("nofolder-%d", os.Getpid())
		_, _, err := local.Start(t.Context(), local.Options{
			Settings: local.Settings{Name: name, Folder: "/does/not/exist", Extra: []byte(`{}`)}, Timeout: 20 * time.Second,
		})
		var failed *local.StartError
		if !errors.As(err, &failed) || !strings.Contains(failed.Log, "/does/not/exist") {
			t.Errorf("got %v", err)
		}
		if _, err := local.Stop(t.Context(), name, 0); err != nil {
			t.Error(err)
		}
	})
}
