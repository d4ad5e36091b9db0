package explicit

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Explain implements network.Sandbox: all pods share the ports of one machine.
func (s *sandbox) Explain(ports []uint16) string {
	var sockets []socket
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err == nil {
			sockets = append(sockets, listening(string(b))...)
		}
	}
	owners := owners()
	for _, port := range ports {
		var mine, others []socket
		for _, x := range sockets {
			switch {
			case x.at.Port() != port:
			case s.marked(owners[x.inode]):
				mine = append(mine, x)
			default:
				others = append(others, x)
			}
		}
		if text := s.judge(mine, others, owners); text != "" {
			return text
		}
	}
	return ""
}

// judge says what is wrong about the sockets that have a port of the pod: its own
// and others'.
func (s *sandbox) judge(mine, others []socket, owners map[string]process) string {
	advice := fmt.Sprintf("without namespaces all pods share the ports of this machine, so let each program listen on the address in POD_IP (here %s) "+
		"in place of 0.0.0.0: by args or env in the manifest", s.cfg.IP)
	for _, x := range mine {
		if a := x.at.Addr(); a == s.cfg.IP || a.IsUnspecified() {
			return "" // as it should be
		}
	}
	for _, x := range mine {
		return fmt.Sprintf("%s listens on %s only, where nobody looks for it; %s", owners[x.inode], x.at, advice)
	}
	for _, x := range others {
		a, owner := x.at.Addr(), owners[x.inode]
		switch {
		case a == s.cfg.IP:
			return fmt.Sprintf("%s is taken by %s", x.at, owner)
		case a.IsUnspecified():
			return fmt.Sprintf("port %d is taken on every address by %s; %s", x.at.Port(), owner, advice)
		case a.Is4():
			return fmt.Sprintf("port %d of %s is taken by %s, so a program cannot have it on every address; %s", x.at.Port(), a, owner, advice)
		}
	}
	return ""
}

// String names a process as a message does.
func (p process) String() string {
	if p.pid == 0 {
		return "a process of another user"
	}
	what := fmt.Sprintf("process %d", p.pid)
	if exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.pid), "exe")); err == nil {
		what += " (" + filepath.Base(exe) + ")"
	}
	if pod := p.pod(); pod != "" {
		what += " of pod " + pod
	}
	return what
}

// socket is one that listens.
type socket struct {
	at    netip.AddrPort
	inode string
}

// listening reads the kernel's table of TCP sockets (proc_net(5)): addresses are
// in hexadecimal, in the byte order of this machine by words.
func listening(table string) []socket {
	var all []socket
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" {
			continue
		}
		host, port, ok := strings.Cut(f[1], ":")
		b, err := hex.DecodeString(host)
		n, errPort := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || errPort != nil || len(b) != 4 && len(b) != 16 {
			continue
		}
		for i := 0; i < len(b); i += 4 {
			slices.Reverse(b[i : i+4]) // little-endian
		}
		a, _ := netip.AddrFromSlice(b)
		all = append(all, socket{netip.AddrPortFrom(a.Unmap(), uint16(n)), f[9]})
	}
	return all
}

// owners finds whose sockets are whose, as far as they are ours to see.
func owners() map[string]process {
	all := map[string]process{}
	for _, p := range processes() {
		dir := filepath.Join("/proc", strconv.Itoa(p.pid), "fd")
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			to, err := os.Readlink(filepath.Join(dir, f.Name()))
			if inode, ok := strings.CutPrefix(to, "socket:["); err == nil && ok {
				all[strings.TrimSuffix(inode, "]")] = p
			}
		}
	}
	return all
}
