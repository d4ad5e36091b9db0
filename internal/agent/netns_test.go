package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/proxy/admin"
)

// envServe makes the test binary be "meshproxy serve".
const envServe = "MESH_AGENT_SERVE"

func TestMain(m *testing.M) {
	if file := os.Getenv(envServe); file != "" {
		os.Exit(Main([]string{"serve", "--config", file}, "test"))
	}
	os.Exit(m.Run())
}

// Both sides of a sidecar as the control plane configures them, without mTLS.
const passthrough = `
static_resources:
  listeners:
  - name: virtualOutbound
    address: {socket_address: {address: 0.0.0.0, port_value: 15001}}
    use_original_dst: true
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: out, cluster: PassthroughCluster}}]}]
  - name: virtualInbound
    address: {socket_address: {address: 0.0.0.0, port_value: 15006}}
    listener_filters: [{name: original_dst, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}]
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: in, cluster: InboundPassthroughCluster}}]}]
  clusters:
  - {name: PassthroughCluster, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 5s}
  - name: InboundPassthroughCluster
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 5s
    upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}}
`

// answer serves one text, with the address of the caller.
func answer(t *testing.T, in func(func() error), addr, name string) {
	t.Helper()
	var ln net.Listener
	in(func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
		return err
	})
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
			_, _ = fmt.Fprintf(c, "%s sees %s", name, from.Addr().Unmap())
			_ = c.Close()
		}
	}()
}

func ask1(addr string) string {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// In a pod of a cluster the sidecar has no right to mark its sockets: what exempts
// them from redirection is its user. Nothing may come back to it in a circle.
func TestSidecarExemptByItsUser(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) {
		if !userExists(capture.DefaultProxyID) {
			return // an ordinary user's namespace has no second user; root's, where this runs too, has
		}
		here := func(fn func() error) {
			if err := fn(); err != nil {
				t.Fatal(err)
			}
		}
		answer(t, here, "10.244.0.1:80", "node")
		box, err := node.NewSandbox(node.SandboxConfig{
			Name: "default/p", Hostname: "p", IP: netip.MustParseAddr("10.244.1.1"), Network: node.DefaultNetwork(), Dir: t.TempDir(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(box.Close)
		pod := func(fn func() error) {
			t.Helper()
			if err := box.InNet(fn); err != nil {
				t.Fatal(err)
			}
		}
		answer(t, pod, "10.244.1.1:8080", "app") // on the pod's address alone
		pod(func() error {
			_, err := capture.Install(capture.Default())
			return err
		})
		from := func(addr string) (got string) {
			pod(func() error { got = ask1(addr); return nil })
			return got
		}
		if got := from("10.244.0.1:80"); !strings.Contains(got, "refused") {
			t.Errorf("without a sidecar nothing leaves, but: %s", got)
		}
		stop := serveAs(t, pod, capture.DefaultProxyID)
		probe := Prober{TCPSocket: &TCPProbe{Port: 8080}}
		for name, s := range map[string]struct{ got, want string }{
			"from outside": {ask1("10.244.1.1:8080"), "app sees 127.0.0.6"},
			"to outside":   {from("10.244.0.1:80"), "node sees 10.244.1.1"},
		} {
			if s.got != s.want {
				t.Errorf("%s: got %q, want %q", name, s.got, s.want)
			}
		}
		stop()
		if got := ask1("10.244.1.1:8080"); !strings.Contains(got, "refused") {
			t.Errorf("with the sidecar gone nothing comes in, but: %s", got)
		}
		// The agent asks the application past the proxy.
		pod(func() error {
			return dialOnce(t.Context(), probeDialer(box.IP()), netip.AddrPortFrom(box.IP(), probe.TCPSocket.Port))
		})
	})
}

// serveAs runs the data plane in the pod as a user.
func serveAs(t *testing.T, pod func(func() error), user uint32) (stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(file, []byte(passthrough), 0o644)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), envServe+"="+file)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, NoSetGroups: true}}
	pod(cmd.Start)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	until := time.Now().Add(20 * time.Second)
	for time.Now().Before(until) {
		open := true
		pod(func() error {
			for _, a := range []string{"127.0.0.1:15001", "127.0.0.1:15006"} {
				c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", a)
				if err != nil {
					open = false
					continue
				}
				_ = c.Close()
			}
			return nil
		})
		if open {
			return stop
		}
	}
	stop()
	t.Fatalf("the data plane did not start:\n%s", log.String())
	return stop
}

func userExists(id uint32) bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		var first, outside, size uint32
		if n, err := fmt.Sscan(line, &first, &outside, &size); err == nil && n == 3 && id >= first && id-first < size {
			return true
		}
	}
	return false
}

func TestLevelsOfTheLog(t *testing.T) {
	t.Parallel()
	s := Settings{LogLevel: "warning", AgentLogLevel: "debug", ComponentLevels: map[string]string{"upstream": "trace"}}
	var out bytes.Buffer
	levels := admin.NewLevels(slog.LevelInfo)
	log := logger(&out, levels, false)
	setLevels(s, levels, log)
	log.Info("proxy info")
	log.With("component", "listener").Info("listener info")
	log.With("component", "identity").Debug("agent debug")
	log.With("component", "upstream").Log(t.Context(), slog.LevelDebug-4, "upstream trace")
	for text, want := range map[string]bool{"proxy info": false, "listener info": false, "agent debug": true, "upstream trace": true} {
		if strings.Contains(out.String(), text) != want {
			t.Errorf("%q logged: %v\n%s", text, !want, out.String())
		}
	}
}
