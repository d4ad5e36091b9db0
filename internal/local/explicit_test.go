package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/node"
)

// wellBehaved is basics with programs that listen where they are told.
var wellBehaved = strings.Replace(basics, "{name: PORT, value", "{name: LISTEN, value: $(POD_IP)}\n        - {name: PORT, value", 1)

func explicitly(o *local.Options) { o.Network = network.Explicit }

// ownNetwork gives a node's test a place for files. The usual directory belongs
// to the real root, whom an ordinary user only plays there; this process is alone
// in its node, so it may change its environment.
func ownNetwork(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Setenv("XDG_RUNTIME_DIR", dir); err != nil {
		t.Fatal(err)
	}
}

// Where the machine forbids namespaces there is a reason and a remedy, and a mesh
// without, unless namespaces were asked for, or something that needs them.
func TestNamespacesForbidden(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		ownNetwork(t)
		for what, s := range map[string]local.Settings{
			"asked for": {Name: "forbidden", Extra: []byte(`{}`), Network: network.Namespaces},
			"closed":    {Name: "forbidden", Extra: []byte(`{}`), Closed: true},
		} {
			_, _, err := local.Start(t.Context(), local.Options{Settings: s})
			var unavailable *node.UnavailableError
			if !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "user.max_user_namespaces is 0") || !strings.Contains(unavailable.Fix, "sysctl") {
				t.Errorf("%s: got %v", what, err)
			}
			if stopped, err := local.Stop(t.Context(), "forbidden", 0); err != nil || stopped.WasRunning {
				t.Errorf("stop: %+v %v", stopped, err)
			}
		}
		var told local.Lacking
		m := start(t, "forbidden", wellBehaved, func(o *local.Options) { o.Fallback = func(l local.Lacking) { told = l } })
		if m.status.State != api.Ready || m.status.Network != "explicit" || m.status.Lacking != told.Cause || !strings.Contains(told.Cause, "max_user_namespaces") {
			t.Errorf("told %+v, status %+v", told, m.status)
		}
		if got := get(t, m.url("default/web")); !strings.HasPrefix(got, "v1 ") {
			t.Errorf("got %q", got)
		}
	})
}

// A mesh without namespaces does what one with them does.
func TestExplicit(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "explicit", wellBehaved, explicitly)
		other := start(t, "beside", wellBehaved, explicitly, func(o *local.Options) { o.Publish.Ports[80]++ })
		if m.status.State != api.Ready || m.status.Network != "explicit" || m.status.Lacking != "" || len(m.status.Pods) != 2 {
			t.Fatalf("%+v", m.status)
		}
		taken := map[string]bool{}
		for _, p := range append(m.status.Pods, other.status.Pods...) {
			if ip, err := netip.ParseAddr(p.IP); err != nil || !ip.IsLoopback() || taken[p.IP] {
				t.Errorf("pod %s has the address %q", p.Name, p.IP)
			}
			taken[p.IP] = true
		}
		for _, p := range m.status.Pods {
			conn, err := m.Dial(t.Context(), "default/"+p.Name, "127.0.0.1:8080") // the pod's own
			if err != nil {
				t.Fatal(err)
			}
			client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
			resp, err := client.Get("http://pod/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if p.Proxy == "none" && resp.StatusCode != http.StatusOK {
				t.Errorf("%s answers %s", p.Name, resp.Status)
			}
			r, err := m.Exec(t.Context(), "default", p.Name, api.ExecRequest{Command: []string{"sh", "-c", "echo $POD_IP; cat; echo $WEB_SERVICE_PORT; exit 3"}, Stdin: []byte("in\n")})
			if want := p.IP + "\nin\n20080\n"; err != nil || r.ExitCode != 3 || string(r.Stdout) != want {
				t.Errorf("exec: %d %q %q %v, want %q", r.ExitCode, r.Stdout, r.Stderr, err, want)
			}
		}
		// The virtual address, for whoever has no sidecar.
		if got := get(t, fmt.Sprintf("http://%s:20080/", m.status.Services[0].ClusterIP)); !strings.HasPrefix(got, "v1 ") {
			t.Errorf("by the virtual address: %q", got)
		}
		t.Run("rolling update without a lost request", func(t *testing.T) {
			testRollout(t, m, wellBehaved)
		})
		before := m.await("pods", func(s api.Status) bool { return len(s.Pods) == 2 && s.Pods[0].Ready }).Pods[0]
		if err := m.Restart(t.Context(), "default", before.Name); err != nil {
			t.Fatal(err)
		}
		m.await("a new pod", func(s api.Status) bool {
			return len(s.Pods) == 2 && s.Pods[0].Ready && s.Pods[0].Name == before.Name && s.Pods[0].IP != before.IP
		})
	})
}

// Two programs that take a port on every address collide, and the message says
// who has it and what to do.
func TestExplicitPortsCollide(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		// A port that tests side by side do not share.
		everywhere := strings.ReplaceAll(basics, "8080", strconv.Itoa(10000+os.Getpid()%4000))
		m := start(t, "collide", everywhere, explicitly)
		s := m.await("the failure", func(s api.Status) bool { return len(s.Failed) > 0 })
		for _, want := range []string{"is taken on every address by process", "of pod default/web-", "listen on the address in POD_IP"} {
			if !strings.Contains(s.Failed[0], want) {
				t.Errorf("no %q in %s", want, s.Failed[0])
			}
		}
	})
}

// What cannot be had without namespaces is refused with a reason.
func TestExplicitRefuses(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "refuses", `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {greeting: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: files, namespace: default}
spec:
  containers:
  - name: web
    image: example/web:1
    env: [{name: PORT, value: "80"}]
    volumeMounts: [{name: s, mountPath: /etc/settings}]
  volumes: [{name: s, configMap: {name: settings}}]
---
apiVersion: v1
kind: Pod
metadata: {name: hosts, namespace: default}
spec:
  hostAliases: [{ip: 192.0.2.1, hostnames: [x]}]
  containers: [{name: web, image: example/web:1, env: [{name: PORT, value: "80"}]}]
`, explicitly)
		s := m.await("both failures", func(s api.Status) bool { return len(s.Failed) == 2 })
		all := strings.Join(s.Failed, "\n")
		for _, want := range []string{"the pod wants a volume at /etc/settings", "hostAliases cannot be given"} {
			if !strings.Contains(all, want) {
				t.Errorf("no %q in:\n%s", want, all)
			}
		}
	})
}

// escape starts a program in a pod that leaves its session by a command, and
// returns all processes of the mesh.
func (m *mesh) escape(t *testing.T, by string) map[int]string {
	t.Helper()
	// The word comes from the other session, so that the program is there when it is read.
	command := "(" + by + " sh -c 'echo left; exec sleep 98761 >/dev/null 2>&1' &) | head -n 1"
	r, err := m.Exec(t.Context(), "default", m.status.Pods[0].Name, api.ExecRequest{Command: []string{"sh", "-c", command}})
	if err != nil || string(r.Stdout) != "left\n" {
		t.Fatalf("%q %q %v", r.Stdout, r.Stderr, err)
	}
	var all map[int]string
	m.await("the escaped program", func(api.Status) bool {
		all = descendants(t, m.status.PID)
		for pid := range all {
			if program(pid) == "sleep 98761" {
				return true
			}
		}
		return false
	})
	return all
}

// Whoever is killed, nothing is left: not even a program that has left its
// session and, while there is somebody to notice, its environment.
func TestExplicitKillLeavesNothing(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		for victim, by := range map[string]string{"host": "env -i setsid", "node": "env -i setsid", "both": "setsid"} {
			t.Run(victim, func(t *testing.T) {
				m := start(t, "kill-"+victim, wellBehaved, explicitly)
				pids := m.escape(t, by)
				if len(pids) < 5 { // host, node, two programs, the escaped
					t.Fatalf("only %d processes", len(pids))
				}
				var doomed []int
				for pid := range pids {
					p := program(pid)
					if strings.HasPrefix(p, "meshctl-local ") && (victim == "both" || strings.HasPrefix(p, "meshctl-local "+victim)) {
						doomed = append(doomed, pid)
					}
				}
				for _, pid := range doomed {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
				if victim != "both" {
					awaitGone(t, pids)
				}
				if stopped, err := local.Stop(context.Background(), m.name, 0); err != nil || stopped.Killed {
					t.Errorf("stop: %+v %v", stopped, err)
				}
				awaitGone(t, pids)
			})
		}
	})
}

// An orderly end leaves nothing, a program in the way included.
func TestExplicitDownLeavesNothing(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "edown", wellBehaved, explicitly)
		pids := m.escape(t, "env -i setsid")
		began := time.Now()
		if stopped, err := local.Stop(t.Context(), m.name, 0); err != nil || !stopped.WasRunning || stopped.Killed {
			t.Errorf("stop: %+v %v", stopped, err)
		}
		t.Logf("took %s", time.Since(began))
		awaitGone(t, pids)
	})
}
