package explicit

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/local/vip"
)

func open(t *testing.T, dir string) *Network {
	t.Helper()
	n, err := Open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.udp.Close()
		n.tcp.Close()
	})
	return n
}

// Two meshes never share an address, even of one folder.
func TestNetworksDiffer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	if a.Services().Overlaps(b.Services()) || a.Gateway() == b.Gateway() {
		t.Errorf("%s and %s", a.Gateway(), b.Gateway())
	}
	seen := map[netip.Addr]bool{a.Gateway(): true}
	for i := range maxPods {
		ip, ok := a.PodAddress(i)
		if !ok || seen[ip] || a.Services().Contains(ip) || !ip.IsLoopback() {
			t.Fatalf("pod %d has %s %t", i, ip, ok)
		}
		seen[ip] = true
	}
	if ip, ok := a.PodAddress(maxPods); ok {
		t.Errorf("one pod too many has %s", ip)
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	n := &Network{block: 77}
	ip, _ := n.PodAddress(4)
	services := []*corev1.Service{
		{Spec: corev1.ServiceSpec{ClusterIP: "127.77.0.40", Ports: []corev1.ServicePort{
			{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "http-web", Port: 80}, {Port: 50051},
		}}},
		{Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 6379}}}},
	}
	services[0].Name, services[1].Name = "shop-front", "headless"
	for _, c := range []struct {
		proxied bool
		want    string
	}{
		{true, `POD_IP=127.77.5.1
HTTP_PROXY=http://127.77.5.1:15007
http_proxy=http://127.77.5.1:15007
NO_PROXY=localhost,127.0.0.1,127.0.0.0/8,::1
no_proxy=localhost,127.0.0.1,127.0.0.0/8,::1
SHOP_FRONT_SERVICE_HOST=127.77.5.40
SHOP_FRONT_SERVICE_PORT=20080
SHOP_FRONT_SERVICE_PORT_HTTP_WEB=20080`},
		{false, `POD_IP=127.77.5.1
SHOP_FRONT_SERVICE_HOST=127.77.0.40
SHOP_FRONT_SERVICE_PORT=20080
SHOP_FRONT_SERVICE_PORT_HTTP_WEB=20080`},
	} {
		if got := strings.Join(n.Variables(ip, c.proxied, services), "\n"); got != c.want {
			t.Errorf("with a sidecar %t:\n%s", c.proxied, got)
		}
	}
}

// A virtual address leads to the endpoints that there are, and to none after.
func TestRelay(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, _, err := n.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "here")
			c.Close()
		}
	}()
	service := n.Services().Addr().Next().Next()
	ask := func() string {
		c, err := net.Dial("tcp", netip.AddrPortFrom(service, 20080).String())
		if err != nil {
			return ""
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	gone := netip.MustParseAddrPort("127.0.0.1:1")
	for _, c := range []struct {
		what  string
		ports []vip.Port
		want  string
	}{
		{"one of two is gone", []vip.Port{{Address: netip.AddrPortFrom(service, 80), Endpoints: []netip.AddrPort{gone, ln.Addr().(*net.TCPAddr).AddrPort()}}}, "here"},
		{"no endpoint", []vip.Port{{Address: netip.AddrPortFrom(service, 80)}}, ""},
		{"no service", nil, ""},
	} {
		if err := n.Route(c.ports); err != nil {
			t.Fatal(err)
		}
		if got := ask(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

// box is a sandbox of a mesh whose files are in dir.
func box(t *testing.T, dir, name string) *sandbox {
	t.Helper()
	n := &Network{block: 1, dir: dir, record: newRecord(dir)}
	ip, _ := n.PodAddress(0)
	s, err := n.NewSandbox(network.SandboxConfig{Name: name, UID: "1", IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*sandbox)
}

// run starts a shell in a pod and waits for its first word.
func run(t *testing.T, s *sandbox, script string) *os.Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := s.Start(node.Command{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = p.Wait() }()
	if _, err := r.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	return p
}

func isAlive(pid int) bool { return startTime(pid) != "" }

// A pod's end is the end of all that its programs have started, and of nothing
// in the pod of the same name of another mesh.
func TestKillAll(t *testing.T) {
	t.Parallel()
	ours, theirs := box(t, t.TempDir(), "default/web"), box(t, t.TempDir(), "default/web")
	p := run(t, ours, "setsid sh -c 'echo up; exec sleep 300' & wait")
	other := run(t, theirs, "echo up; exec sleep 300")
	var mine []int
	for _, x := range processes() {
		if ours.marked(x) {
			mine = append(mine, x.pid)
		}
	}
	if len(mine) < 2 || !slices.Contains(mine, p.Pid) {
		t.Fatalf("the pod has processes %v, started was %d", mine, p.Pid)
	}
	if err := ours.KillAll(); err != nil {
		t.Error(err)
	}
	if slices.ContainsFunc(mine, isAlive) || !isAlive(other.Pid) {
		t.Errorf("ours: %t, theirs: %t", slices.ContainsFunc(mine, isAlive), isAlive(other.Pid))
	}
	if err := theirs.KillAll(); err != nil || isAlive(other.Pid) {
		t.Errorf("theirs: %v %t", err, isAlive(other.Pid))
	}
}

// What a mesh has left is ended by its mark, and by the record what has no mark;
// a process that has the number of one in the record is another's.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	marked := run(t, box(t, dir, "default/a"), "echo up; exec sleep 300")
	bare := exec.Command("sleep", "300")
	stranger := exec.Command("sleep", "300")
	for _, c := range []*exec.Cmd{bare, stranger} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.Wait() }()
	}
	defer func() { _ = stranger.Process.Kill() }()
	r := newRecord(dir)
	r.add(bare.Process.Pid, startTime(bare.Process.Pid))
	r.add(stranger.Process.Pid, "1")
	if left := Sweep(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if isAlive(marked.Pid) || isAlive(bare.Process.Pid) || !isAlive(stranger.Process.Pid) {
		t.Errorf("marked %t, recorded %t, stranger %t", isAlive(marked.Pid), isAlive(bare.Process.Pid), isAlive(stranger.Process.Pid))
	}
}

// A program ends with the thread, so with the process, that started it.
func TestProgramsEndWithTheNode(t *testing.T) {
	t.Parallel()
	const part = "MESH_EXPLICIT_TEST_NODE"
	if dir := os.Getenv(part); dir != "" {
		p := run(t, box(t, dir, "default/a"), "echo up; exec sleep 300")
		if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(startTime(p.Pid)), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestProgramsEndWithTheNode$")
	cmd.Env = append(os.Environ(), part+"="+dir)
	if err := cmd.Run(); err == nil {
		t.Fatal("the node has not died")
	}
	start, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(processes(), func(p process) bool { return p.has(meshMark(dir)) && p.start == string(start) }) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the program lives on")
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	s := box(t, t.TempDir(), "default/second")
	at := func(address string) netip.AddrPort { return netip.MustParseAddrPort(address + ":9080") }
	me := s.cfg.IP.String()
	owners := map[string]process{"mine": {pid: 0}, "theirs": {pid: 1 << 30, environ: []byte(podMark("default/first", "7"))}}
	for _, c := range []struct {
		what         string
		mine, others []socket
		want         []string // nil: nothing
	}{
		{"nobody has it", nil, nil, nil},
		{"it is ours", []socket{{at(me), "mine"}}, []socket{{at("127.0.0.1"), "theirs"}}, nil},
		{"it is ours on every address", []socket{{at("0.0.0.0"), "mine"}}, nil, nil},
		{"ours, where nobody looks", []socket{{at("127.0.0.1"), "mine"}}, nil, []string{"listens on 127.0.0.1:9080 only", "POD_IP (here " + me + ")"}},
		{"every address is another's", nil, []socket{{at("0.0.0.0"), "theirs"}}, []string{"port 9080 is taken on every address by process", "of pod default/first", "POD_IP"}},
		{"one address is another's", nil, []socket{{at("127.0.0.1"), "theirs"}}, []string{"cannot have it on every address", "of pod default/first", "POD_IP"}},
		{"our address is another's", nil, []socket{{at(me), "gone"}}, []string{"is taken by a process of another user"}},
	} {
		got := s.judge(c.mine, c.others, owners)
		if (got == "") != (c.want == nil) {
			t.Errorf("%s: %q", c.what, got)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in %q", c.what, want, got)
			}
		}
	}
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	if got := s.Explain([]uint16{port}); !strings.Contains(got, "is taken on every address by process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("the kernel's table: %q", got)
	}
	ln.Close()
}

func TestListening(t *testing.T) {
	t.Parallel()
	got := listening(`  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 01034D7F:2378 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0
   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12 1 0 100
   2: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000  1000        0 13 1 0 100 0 0 10 0
   3: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 14 1 0 100
`)
	want := []socket{
		{netip.MustParseAddrPort("127.77.3.1:9080"), "11"}, {netip.MustParseAddrPort("[::]:80"), "12"}, {netip.MustParseAddrPort("127.0.0.1:81"), "14"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// FuzzListening: whatever a kernel writes, nothing is made of it that is not there.
func FuzzListening(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 1000 0 11 1")
	f.Fuzz(func(t *testing.T, table string) {
		for _, s := range listening(table) {
			if !s.at.Addr().IsValid() || s.inode == "" {
				t.Errorf("%v of %q", s, table)
			}
		}
	})
}
