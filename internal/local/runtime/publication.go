package runtime

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/bridge"
)

// Publishing says which ports of the mesh appear on the host.
type Publishing struct {
	// Host is the address to listen on, 127.0.0.1 when empty.
	Host string `json:"host,omitempty"`
	// Ports maps a gateway's service port to a port of the host. What is not in
	// it: 80 is 8080, 443 is 8443, others below 1024 get 8000 added, and the rest
	// keep their number.
	Ports map[int]int `json:"ports,omitempty"`
	// Fixed are further publications.
	Fixed []Fixed `json:"fixed,omitempty"`
	// Exact fails when a port is in use, instead of taking the next one.
	Exact bool `json:"exact,omitempty"`
}

// Fixed publishes an address inside the node, such as a page of the control plane.
type Fixed struct {
	Name   string `json:"name"`
	Port   int    `json:"port"`   // wanted on the host
	Target string `json:"target"` // ip:port, or namespace/service:port
}

// gatewayStatusPort is a gateway's own health port; nobody wants it on the host.
const gatewayStatusPort = 15021

// hostPort is where a gateway's port appears.
func (p Publishing) hostPort(port int) int {
	if mapped, ok := p.Ports[port]; ok {
		return mapped
	}
	switch {
	case port == 80:
		return 8080
	case port == 443:
		return 8443
	case port < 1024:
		return port + 8000
	default:
		return port
	}
}

// publications keeps ports on the host and leads their connections to pods.
type publications struct {
	bridge *bridge.Node
	opts   Publishing
	feed   *feed
	log    *slog.Logger
	next   atomic.Uint64

	mu     sync.Mutex
	active map[string]*publication // by ID
}

type publication struct {
	api.Publication
	targets []netip.AddrPort
}

func newPublications(b *bridge.Node, opts Publishing, f *feed, log *slog.Logger) *publications {
	return &publications{bridge: b, opts: opts, feed: f, log: log, active: map[string]*publication{}}
}

// want is one publication that should be.
type want struct {
	id, target string
	port       int
	targets    []netip.AddrPort
	scheme     string
}

func (p *publications) wanted(services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice) []want {
	ready := readyEndpoints(endpoints)
	var all []want
	for _, s := range services {
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		for _, sp := range s.Spec.Ports {
			if sp.Port == gatewayStatusPort || sp.Protocol != "" && sp.Protocol != corev1.ProtocolTCP {
				continue
			}
			scheme := ""
			switch {
			case strings.HasPrefix(sp.Name, "https") || sp.Port == 443:
				scheme = "https"
			case strings.HasPrefix(sp.Name, "http") || sp.Port == 80:
				scheme = "http"
			}
			id := fmt.Sprintf("%s/%s:%d", s.Namespace, s.Name, sp.Port)
			all = append(all, want{
				id: id, target: id, port: p.opts.hostPort(int(sp.Port)), scheme: scheme,
				targets: ready[s.Namespace+"/"+s.Name+":"+sp.Name],
			})
		}
	}
	for _, f := range p.opts.Fixed {
		w := want{id: f.Name, target: f.Target, port: f.Port, scheme: "http"}
		if ap, err := netip.ParseAddrPort(f.Target); err == nil {
			w.targets = []netip.AddrPort{ap}
		} else {
			w.targets = serviceTargets(f.Target, services, ready)
		}
		all = append(all, w)
	}
	return all
}

// serviceTargets resolves namespace/service:port.
func serviceTargets(target string, services []*corev1.Service, ready map[string][]netip.AddrPort) []netip.AddrPort {
	name, port, _ := strings.Cut(target, ":")
	for _, s := range services {
		if s.Namespace+"/"+s.Name != name {
			continue
		}
		for _, sp := range s.Spec.Ports {
			if strconv.Itoa(int(sp.Port)) == port || sp.Name == port {
				return ready[name+":"+sp.Name]
			}
		}
	}
	return nil
}

// update makes the host listen on exactly the wanted ports.
func (p *publications) update(ctx context.Context, services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice) {
	keep := map[string]bool{}
	for _, w := range p.wanted(services, endpoints) {
		keep[w.id] = true
		p.mu.Lock()
		existing := p.active[w.id]
		if existing != nil {
			existing.targets = w.targets
		}
		p.mu.Unlock()
		if existing == nil {
			p.open(ctx, w)
		}
	}
	p.mu.Lock()
	var gone []string
	for id := range p.active {
		if !keep[id] {
			gone = append(gone, id)
			delete(p.active, id)
		}
	}
	p.mu.Unlock()
	for _, id := range gone {
		if err := p.bridge.Unlisten(id); err != nil {
			p.log.WarnContext(ctx, "port not taken back", "publication", id, "err", err)
		}
		p.feed.add(false, "Unpublished", id, "no longer on the host")
	}
}

func (p *publications) open(ctx context.Context, w want) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pub := &publication{Publication: api.Publication{Name: w.id, Target: w.target}, targets: w.targets}
	// Known before the host listens, so that its first connection finds it.
	p.mu.Lock()
	p.active[w.id] = pub
	p.mu.Unlock()
	address, err := p.bridge.Listen(ctx, bridge.Listen{
		ID: w.id, Host: cmp.Or(p.opts.Host, "127.0.0.1"), Port: w.port, Next: !p.opts.Exact,
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		pub.Error, pub.Wanted = err.Error(), w.port
		p.feed.add(true, "NotPublished", w.id, err.Error())
		return
	}
	pub.Address = address
	message := "on " + address
	if _, port, err := net.SplitHostPort(address); err == nil && w.port != 0 && port != strconv.Itoa(w.port) {
		pub.Wanted = w.port
		message = fmt.Sprintf("on %s, because port %d is in use", address, w.port)
	}
	if w.scheme != "" {
		pub.URL = w.scheme + "://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
	}
	p.feed.add(false, "Published", w.id, message)
}

// serve joins one connection with a ready endpoint, trying each once.
func (p *publications) serve(ctx context.Context, id string, conn net.Conn) {
	p.mu.Lock()
	var targets []netip.AddrPort
	if pub := p.active[id]; pub != nil {
		targets = slices.Clone(pub.targets)
	}
	p.mu.Unlock()
	start := p.next.Add(1)
	d := net.Dialer{Timeout: 5 * time.Second}
	for i := range targets {
		target := targets[(start+uint64(i))%uint64(len(targets))]
		up, err := d.DialContext(ctx, "tcp", target.String())
		if err != nil {
			p.log.LogAttrs(ctx, slog.LevelInfo, "endpoint of a published port not reached", slog.String("peer", target.String()), slog.Any("err", err))
			continue
		}
		bridge.Splice(ctx, conn, up)
		return
	}
	// Nobody is there: refuse as the kernel would.
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func (p *publications) list() []api.Publication {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []api.Publication{}
	for _, pub := range p.active {
		all = append(all, pub.Publication)
	}
	slices.SortFunc(all, func(a, b api.Publication) int { return strings.Compare(a.Name, b.Name) })
	return all
}
