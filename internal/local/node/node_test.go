package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/node"
)

// The test binary plays three parts: the test itself (host side), the node it
// starts in new namespaces, and the programs that run in pods.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "test-node":
			exitWith(playNode())
		case "test-serve":
			exitWith(playServer(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// playServer answers with the host name and who asked; it says when it is ready.
func playServer(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintf(w, "%s hears %s", host, r.RemoteAddr[:strings.LastIndex(r.RemoteAddr, ":")])
	}))
}

type settings struct {
	Dir     string
	Outside string
}

// report is what the node found out, as lines of JSON on stdout.
type report map[string]string

func playNode() error {
	link, err := bridge.Open(os.NewFile(3, "bridge"))
	if err != nil {
		return err
	}
	var s settings
	if err := bridge.ReceiveHello(link, &s); err != nil {
		return err
	}
	network := node.DefaultNetwork()
	if err := node.Setup(network, "node"); err != nil {
		return err
	}
	a, err := testPod(s, network, "a", "10.244.1.1")
	if err != nil {
		return err
	}
	b, err := testPod(s, network, "b", "10.244.1.2")
	if err != nil {
		return err
	}
	self := "/proc/self/exe"
	if _, err := b.Start(node.Command{Path: self, Argv: []string{"server", "test-serve", ":80"}, Stdout: os.Stderr, Stderr: os.Stderr}); err != nil {
		return err
	}
	ctx := context.Background()
	out := report{}
	out["pod to pod"] = get(ctx, a.Dial, "10.244.1.2:80")
	out["node to pod"] = get(ctx, (&net.Dialer{}).DialContext, "10.244.1.2:80")
	for i := range 2 { // the address of a pod that has just ended
		c, err := testPod(s, network, fmt.Sprintf("c%d", i), "10.244.1.3")
		if err != nil {
			return err
		}
		if _, err := c.Start(node.Command{Path: self, Argv: []string{"server", "test-serve", ":80"}, Stdout: os.Stderr, Stderr: os.Stderr}); err != nil {
			return err
		}
		out[fmt.Sprintf("address given out %d times", i+1)] = get(ctx, a.Dial, "10.244.1.3:80")
		if err := c.KillAll(); err != nil {
			return err
		}
		c.Close()
	}
	n := bridge.NewNode(link, func(ctx context.Context, _ string, conn net.Conn) {
		up, err := net.Dial("tcp", "10.244.1.2:80")
		if err != nil {
			conn.Close()
			return
		}
		go bridge.Splice(ctx, conn, up)
	}, slog.New(slog.DiscardHandler))
	gone := make(chan error, 1)
	go func() { gone <- n.Run(ctx) }()
	if out["published"], err = n.Listen(ctx, bridge.Listen{ID: "web", Host: "127.0.0.1", Port: 0, Next: true}); err != nil {
		return err
	}
	_, err = n.DialOutside(ctx, netip.MustParseAddrPort("127.0.0.1:1"))
	out["outside loopback"] = fmt.Sprint(err)
	out["script"] = runIn(a, "/bin/sh", "-c", `hostname; cat /etc/resolv.conf /etc/hosts; cat /etc/mesh/deep/config; cat /new/top/x;
		ls -d /etc/passwd; ls `+s.Dir+`; touch /empty/dir/f && echo empty ok; touch /etc/mesh/ro/f 2>/dev/null || echo read only; grep -E 'CapEff|NoNewPrivs' /proc/self/status`)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return err
	}
	if err := <-gone; !errors.Is(err, bridge.ErrGone) {
		return err
	}
	return nil
}

func testPod(s settings, network node.Network, name, ip string) (*node.Sandbox, error) {
	ro := filepath.Join(s.Dir, name, "ro")
	if err := os.MkdirAll(ro, 0o700); err != nil {
		return nil, err
	}
	return node.NewSandbox(node.SandboxConfig{
		Name: "default/" + name, Hostname: name, IP: netip.MustParseAddr(ip), Network: network,
		Dir: filepath.Join(s.Dir, name), HideDir: s.Dir,
		Nameservers: []netip.Addr{network.Gateway.Addr()}, Search: []string{"default.svc.cluster.local"},
		Files: []node.File{
			{Path: "/etc/mesh/deep/config", Content: []byte("deep\n"), Mode: 0o644},
			{Path: "/new/top/x", Content: []byte("top\n"), Mode: 0o644},
		},
		Mounts: []node.Mount{{Path: "/empty/dir"}, {Path: "/etc/mesh/ro", Source: ro, ReadOnly: true}},
	})
}

func get(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), addr string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := dial(ctx, "tcp", addr)
		if err != nil {
			if ctx.Err() != nil {
				return err.Error()
			}
			runtime.Gosched()
			continue
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err.Error()
		}
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
}

func runIn(s *node.Sandbox, argv ...string) string {
	r, w, err := os.Pipe()
	if err != nil {
		return err.Error()
	}
	p, err := s.Start(node.Command{Argv: argv, Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return err.Error()
	}
	out, _ := io.ReadAll(r)
	_, _ = p.Wait()
	return string(out)
}

func TestNode(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, testNode)
}

func testNode(t *testing.T) {
	dir := filepath.Dir(localtest.CopySelf(t))
	link, theirs, err := bridge.Pair()
	if err != nil {
		t.Fatal(err)
	}
	attrs, err := node.Attributes()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "test-node")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = attrs
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	exited := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the node dies with this thread
		started <- cmd.Start()
		exited <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		t.Fatalf("start node: %v", node.Explain(err, "/"))
	}
	theirs.Close()
	host := bridge.NewHost(link, bridge.HostOptions{Outside: true, Log: slog.New(slog.DiscardHandler)})
	if err := host.Hello(settings{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	hostDone := make(chan error, 1)
	go func() { hostDone <- host.Run(ctx) }()
	var got report
	if err := json.NewDecoder(stdout).Decode(&got); err != nil {
		t.Fatalf("node said nothing: %v", err)
	}
	published := get(ctx, (&net.Dialer{}).DialContext, got["published"])
	cancel()
	<-hostDone
	if err := <-exited; err != nil {
		t.Errorf("node ended with %v", err)
	}
	delete(got, "published")
	caps := "CapEff:\t00000000000405fb"
	script := strings.Join([]string{
		"a", "nameserver 10.244.0.1", "search default.svc.cluster.local", "options ndots:5",
		"127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", "10.244.1.1 a",
		"deep", "top", "/etc/passwd", "a", "empty ok", "read only", caps, "NoNewPrivs:\t1", "",
	}, "\n")
	want := report{
		"pod to pod":                "b hears 10.244.1.1",
		"node to pod":               "b hears 10.244.0.1",
		"address given out 1 times": "c0 hears 10.244.1.1",
		"address given out 2 times": "c1 hears 10.244.1.1",
		"outside loopback":          "dial 127.0.0.1:1 outside of the mesh: dial outside: 127.0.0.1:1 is not an outside address",
		"script":                    script,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the node (-want +got):\n%s", diff)
	}
	if published != "b hears 10.244.0.1" {
		t.Errorf("published port answered %q", published)
	}
}
