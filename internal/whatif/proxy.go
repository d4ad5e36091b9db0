package whatif

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/nametable"
	"github.com/meshctl/meshctl/internal/proxy/compile"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// proxy is a pod's proxy with the configuration it would have.
type proxy struct {
	pod   *pod
	snap  *snapshot.Snapshot
	names nametable.Table
	// refused are resources that the proxy would not take.
	refused []*compile.ResourceError
}

// compiledTypes are the types that a compiler takes, in the order of dependence.
var compiledTypes = []string{
	xdsserve.TypeSecret, xdsserve.TypeEndpoint, xdsserve.TypeCluster, xdsserve.TypeRoute, xdsserve.TypeVirtualHost, xdsserve.TypeListener,
}

// proxy gives the proxy of a pod; it is compiled once.
func (w *World) proxy(ctx context.Context, p *pod) (*proxy, error) {
	if p.role == gateway {
		return w.compiled(ctx, p, mesh.Router)
	}
	return w.compiled(ctx, p, mesh.Sidecar)
}

// caller gives the proxy by which a pod calls others. A gateway calls what its
// routes lead to; asked whether it may call something, it is taken to have a route
// there, as a sidecar has to everything.
func (w *World) caller(ctx context.Context, p *pod) (*proxy, error) {
	return w.compiled(ctx, p, mesh.Sidecar)
}

// proxyKey is a pod in the part of a type of proxy.
type proxyKey struct {
	pod  *pod
	kind mesh.ProxyType
}

func (w *World) compiled(ctx context.Context, p *pod, kind mesh.ProxyType) (*proxy, error) {
	key := proxyKey{p, kind}
	if x := w.proxies[key]; x != nil {
		return x, nil
	}
	node, err := w.node(p, kind)
	if err != nil {
		return nil, err
	}
	all, err := w.cp.Preview(ctx, node)
	if err != nil {
		return nil, err
	}
	x := &proxy{pod: p, names: nametable.Table{}}
	if err := x.compile(all[0], func(string, string) bool { return true }); err != nil {
		return nil, err
	}
	for r := range all[0].Set(xdsserve.TypeNameTable).All() {
		part, err := nametable.Unmarshal(r.Body())
		if err != nil {
			return nil, fmt.Errorf("names of %s: %w", p, err)
		}
		maps.Copy(x.names, part)
	}
	w.proxies[key] = x
	return x, nil
}

// compile makes the snapshot of the wanted resources.
func (x *proxy) compile(sent *xdsserve.Snapshot, want func(typeURL, name string) bool) error {
	c, err := compile.New(compile.Options{})
	if err != nil {
		return fmt.Errorf("compile for %s: %w", x.pod, err)
	}
	for _, t := range compiledTypes {
		var set []compile.Raw
		for r := range sent.Set(t).All() {
			if want(t, r.Name()) {
				set = append(set, compile.Raw{Name: r.Name(), Version: r.Version(), Bytes: r.Body()})
			}
		}
		x.refused = append(x.refused, c.Apply(compile.Update{TypeURL: t, Set: set})...)
	}
	// Certificates are given by the agent: listeners must not wait for them here.
	c.Snapshot()
	c.ReleaseHeld()
	x.snap = c.Snapshot()
	return nil
}

// server gives the inbound side of a sidecar. What it may call is no part of it,
// which in a large mesh is nearly everything.
func (w *World) server(ctx context.Context, p *pod) (*proxy, error) {
	for _, have := range []map[proxyKey]*proxy{w.proxies, w.servers} {
		if x := have[proxyKey{p, mesh.Sidecar}]; x != nil {
			return x, nil
		}
	}
	node, err := w.node(p, mesh.Sidecar)
	if err != nil {
		return nil, err
	}
	all, err := w.cp.Preview(ctx, node)
	if err != nil {
		return nil, err
	}
	x := &proxy{pod: p}
	err = x.compile(all[0], func(t, name string) bool {
		return t == xdsserve.TypeListener && (name == "virtualInbound" || name == "connect_terminate") || t == xdsserve.TypeSecret
	})
	if err != nil {
		return nil, err
	}
	w.servers[proxyKey{p, mesh.Sidecar}] = x
	return x, nil
}

// resolve finds the addresses of a host as the pod's resolver would: with the
// search domains of its namespace. known is the full name.
func (x *proxy) resolve(host, domain string) (known string, info nametable.Info, ok bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ns := x.pod.namespace
	for _, suffix := range []string{"", "." + ns + ".svc." + domain, ".svc." + domain, "." + domain} {
		if info, ok = x.names[host+suffix]; ok {
			return host + suffix, info, true
		}
	}
	// Wildcards, the most specific first.
	for rest := host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return host, nametable.Info{}, false
		}
		rest = rest[i+1:]
		if info, ok = x.names["*."+rest]; ok {
			return host, info, true
		}
	}
}

// listener finds one that owns a socket on a port.
func (x *proxy) listener(port uint16) *snapshot.Listener {
	i := slices.IndexFunc(x.snap.Listeners, func(l *snapshot.Listener) bool {
		return slices.ContainsFunc(l.Addrs, func(a netip.AddrPort) bool { return a.Port() == port })
	})
	if i < 0 {
		return nil
	}
	return x.snap.Listeners[i]
}
