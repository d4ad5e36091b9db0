// Package poddial connects from inside a pod of a mesh on this machine, as its
// programs would.
//
//	d, err := poddial.New(ctx, mesh, pod)
//	conn, err := d.Dial(ctx, "tcp", "reviews:9080")
package poddial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local/api"
)

// Dialer connects from inside a pod, and resolves names as the pod does.
type Dialer struct {
	mesh   *env.Local
	pod    string // namespace/name
	server string // ip:port of the pod's name server
	search []string
	ndots  int

	mu    sync.Mutex
	known map[string][]netip.Addr
}

// New reads the pod's resolv.conf(5).
func New(ctx context.Context, m *env.Local, pod api.Pod) (*Dialer, error) {
	d := &Dialer{mesh: m, pod: pod.Namespace + "/" + pod.Name, ndots: 1, known: map[string][]netip.Addr{}}
	res, err := m.Exec(ctx, pod.Namespace, pod.Name, api.ExecRequest{Command: []string{"cat", "/etc/resolv.conf"}})
	if err != nil || res.ExitCode != 0 {
		if err == nil {
			err = errors.New(strings.TrimSpace(string(res.Stderr)))
		}
		return nil, exit.Failuref("cannot read the name server of pod %s", pod.Name).Because(err)
	}
	d.readConfig(string(res.Stdout))
	return d, nil
}

func (d *Dialer) readConfig(text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if d.server == "" {
				d.server = net.JoinHostPort(f[1], "53")
			}
		case "search":
			d.search = f[1:]
		case "options":
			for _, o := range f[1:] {
				if n, ok := strings.CutPrefix(o, "ndots:"); ok {
					d.ndots, _ = strconv.Atoi(n) // the resolver's default stays when it is no number
				}
			}
		}
	}
}

// Dial connects to host:port; the pod's own name server is asked for the host.
func (d *Dialer) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial from pod %s: %w", d.pod, err)
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = d.mesh.Dial(ctx, d.pod, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// lookup asks the pod's name server, once for each name.
func (d *Dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if host == "localhost" {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if addrs := d.known[host]; len(addrs) > 0 {
		return addrs, nil
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.mesh.Dial(ctx, d.pod, d.server)
	}}
	var first error
	for _, name := range d.candidates(host) {
		addrs, err := resolver.LookupNetIP(ctx, "ip4", name)
		if err == nil && len(addrs) > 0 {
			d.known[host] = addrs
			return addrs, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("resolve %s from pod %s: %w", host, d.pod, first)
}

// candidates are the full names to try, in the order of resolv.conf(5).
func (d *Dialer) candidates(host string) []string {
	if strings.HasSuffix(host, ".") {
		return []string{host}
	}
	var out []string
	for _, s := range d.search {
		out = append(out, host+"."+strings.TrimSuffix(s, ".")+".")
	}
	if strings.Count(host, ".") >= d.ndots {
		return append([]string{host + "."}, out...)
	}
	return append(out, host+".")
}
