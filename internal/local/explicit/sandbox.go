package explicit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/mesh"
)

// sandbox is one pod: an address, and a mark by which its processes are known.
type sandbox struct {
	net  *Network
	cfg  network.SandboxConfig
	mark string

	mu       sync.Mutex
	sessions map[int]string // leaders that were started here, with their start times
}

// NewSandbox implements network.Network. What cannot be had without namespaces
// is an error, so that no program runs with less than its manifest says.
func (n *Network) NewSandbox(c network.SandboxConfig) (network.Sandbox, error) {
	if len(c.HostEntries) > 0 {
		return nil, errors.New("hostAliases cannot be given to a pod without namespaces; remove them, or write the address where the name is used")
	}
	for _, m := range c.Mounts {
		if !isThere(m) {
			return nil, fmt.Errorf("nothing can be mounted without namespaces, and the pod wants a volume at %s; its content is in %s: "+
				"let the program read it there, or take the volume out of the manifest", m.Path, m.Source)
		}
	}
	return &sandbox{net: n, cfg: c, mark: podMark(c.Name, c.UID), sessions: map[int]string{}}, nil
}

// isThere reports whether a mount would change nothing that matters: the path is
// what it should show, or an empty volume is wanted where a writable folder is.
func isThere(m node.Mount) bool {
	if filepath.Clean(m.Source) == filepath.Clean(m.Path) {
		return true
	}
	entries, err := os.ReadDir(m.Source)
	if err != nil || len(entries) > 0 {
		return false
	}
	info, err := os.Stat(m.Path)
	return err == nil && info.IsDir() && unix.Access(m.Path, unix.W_OK) == nil
}

// Start implements network.Sandbox.
func (s *sandbox) Start(c node.Command) (*os.Process, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("start in pod: no command")
	}
	c.Env = append(slices.Clone(c.Env), meshMark(s.net.dir), s.mark)
	type started struct {
		proc *os.Process
		err  error
	}
	result := make(chan started)
	// The program dies with the thread that starts it, so the thread lives as long.
	go func() {
		_ = node.OnThread(func() error {
			proc, err := c.Exec(syscall.SIGKILL)
			result <- started{proc, err}
			if err == nil {
				s.accompany(proc.Pid)
			}
			return nil
		})
	}()
	r := <-result
	if r.err != nil {
		return nil, fmt.Errorf("start %s in pod %s: %w", c.Argv[0], s.cfg.Name, r.err)
	}
	return r.proc, nil
}

// accompany blocks the calling thread until a child has ended. Somebody else
// takes its exit status.
func (s *sandbox) accompany(pid int) {
	start := startTime(pid)
	s.mu.Lock()
	s.sessions[pid] = start
	s.mu.Unlock()
	s.net.record.add(pid, start)
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	s.net.record.remove(pid)
	if !slices.ContainsFunc(processes(), func(p process) bool { return p.session == pid && p.pid != pid }) {
		s.mu.Lock()
		delete(s.sessions, pid) // the number may be another's from now on
		s.mu.Unlock()
	}
}

// Dial implements network.Sandbox.
func (s *sandbox) Dial(ctx context.Context, proto, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s in pod %s: want a literal ip:port: %w", address, s.cfg.Name, err)
	}
	bound := s.net.bound(s.cfg.IP)
	switch a := to.Addr().Unmap(); {
	case a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback():
		to = netip.AddrPortFrom(s.cfg.IP, to.Port())
	case s.net.Services().Contains(a):
		if at, ok := bound.Service(a.String()); ok {
			to = netip.AddrPortFrom(at, uint16(mesh.BoundPort(uint32(to.Port()))))
		}
	}
	d := net.Dialer{Timeout: 30 * time.Second}
	if to.Addr().IsLoopback() && strings.HasPrefix(proto, "tcp") {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.cfg.IP, 0))
	}
	return d.DialContext(ctx, proto, to.String())
}

// KillAll implements network.Sandbox.
func (s *sandbox) KillAll() error {
	s.mu.Lock()
	sessions := maps.Clone(s.sessions)
	s.mu.Unlock()
	left := killAll(func(p process) bool {
		start, ours := sessions[p.session]
		return s.marked(p) || ours && (p.pid != p.session || p.start == start)
	})
	if len(left) > 0 {
		return fmt.Errorf("processes %v of pod %s do not end", left, s.cfg.Name)
	}
	return nil
}

// marked reports whether a process has the marks of the mesh and of the pod:
// another mesh may have the same pod.
func (s *sandbox) marked(p process) bool { return p.has(s.mark) && p.has(meshMark(s.net.dir)) }

// Close implements network.Sandbox.
func (s *sandbox) Close() {}
