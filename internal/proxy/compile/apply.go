package compile

import (
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// nameIs checks the name inside a resource against the one outside.
func nameIs(raw *Raw, inside string) error {
	if raw.Name != "" && inside != raw.Name {
		return in("name", fmt.Errorf("%q in a resource called %q", inside, raw.Name))
	}
	if inside == "" {
		return in("name", errors.New("empty"))
	}
	raw.Name = inside
	return nil
}

func (c *Compiler) applyCluster(raw *Raw) error {
	k := c.keyOf(raw.Bytes)
	if same(&c.clusters, raw.Name, k) {
		return nil
	}
	m := &clusterv3.Cluster{}
	if err := c.decode(raw.Bytes, m); err != nil {
		return err
	}
	if err := nameIs(raw, m.Name); err != nil {
		return err
	}
	v, d, err := take(c, func() (*snapshot.Cluster, error) { return c.clusterOf(m) })
	if err != nil {
		return err
	}
	v.Version = raw.Version
	put(c, &c.clusters, v.Name, &entry[*snapshot.Cluster]{key: k, obj: v, deps: d})
	return nil
}

func (c *Compiler) applyEndpoints(raw *Raw) error {
	k := c.keyOf(raw.Bytes)
	if same(&c.assignments, raw.Name, k) {
		return nil
	}
	m := &endpointv3.ClusterLoadAssignment{}
	if err := c.decode(raw.Bytes, m); err != nil {
		return err
	}
	if err := nameIs(raw, m.ClusterName); err != nil {
		return err
	}
	v, err := c.endpoints(m, false)
	if err != nil {
		return err
	}
	v.Version = raw.Version
	put(c, &c.assignments, v.Name, &entry[*snapshot.Endpoints]{key: k, obj: v})
	return nil
}

func (c *Compiler) applySecret(raw *Raw) error {
	k := c.keyOf(raw.Bytes)
	if same(&c.secrets, raw.Name, k) {
		return nil
	}
	m := &tlsv3.Secret{}
	if err := c.decode(raw.Bytes, m); err != nil {
		return err
	}
	if err := nameIs(raw, m.Name); err != nil {
		return err
	}
	v, err := c.secret(m)
	if err != nil {
		return err
	}
	v.Version = raw.Version
	put(c, &c.secrets, v.Name, &entry[*snapshot.Secret]{key: k, obj: v})
	return nil
}

// Numbers of the fields that are compiled piece by piece.
const (
	listenerChains       = 3
	listenerDefaultChain = 25
	tableHosts           = 2
)

func (c *Compiler) applyListener(raw *Raw) error {
	k := c.keyOf(raw.Bytes)
	if same(&c.listeners, raw.Name, k) {
		return nil
	}
	rest, parts := split(raw.Bytes, listenerChains, listenerDefaultChain)
	if len(parts) > maxChains {
		return in("filter_chains", fmt.Errorf("%d, at most %d", len(parts), maxChains))
	}
	m := &listenerv3.Listener{}
	if err := c.decode(rest, m); err != nil {
		return err
	}
	if err := nameIs(raw, m.Name); err != nil {
		return err
	}
	l, d, err := take(c, func() (*snapshot.Listener, error) { return c.listener(m) })
	if err != nil {
		return err
	}
	l.Version = raw.Version
	old := c.chainPieces[l.Name]
	pieces := make(map[pieceKey]*piece[*snapshot.Chain], len(parts))
	n := 0
	for _, p := range parts {
		x, err := c.chainPiece(old, p)
		if p.num == listenerDefaultChain {
			if err != nil {
				return in("default_filter_chain", err)
			}
			l.Default = x.obj
		} else {
			if err != nil {
				return at("filter_chains", n, err)
			}
			n++
			l.Chains = append(l.Chains, x.obj)
		}
		pieces[x.key] = x
		d.join(&x.deps)
	}
	if len(parts) == 0 {
		return in("filter_chains", errors.New("empty"))
	}
	if l.Index, err = snapshot.IndexChains(l.Chains); err != nil {
		return in("filter_chains", err)
	}
	c.chainPieces[l.Name] = pieces
	put(c, &c.listeners, l.Name, &entry[*snapshot.Listener]{key: k, obj: l, deps: d})
	return nil
}

// chainPiece compiles a filter chain, or finds the one with the same bytes in
// the previous version of the listener.
func (c *Compiler) chainPiece(old map[pieceKey]*piece[*snapshot.Chain], p part) (*piece[*snapshot.Chain], error) {
	k := c.keyOf(p.bytes)
	if x := old[k]; x != nil {
		return x, nil
	}
	m := &listenerv3.FilterChain{}
	if err := c.decode(p.bytes, m); err != nil {
		return nil, err
	}
	v, d, err := take(c, func() (*snapshot.Chain, error) { return c.chain(m) })
	if err != nil {
		return nil, err
	}
	return &piece[*snapshot.Chain]{key: k, obj: v, deps: d}, nil
}

func (c *Compiler) removeListener(name string) {
	delete(c.chainPieces, name)
	removeFrom(c, &c.listeners, name)
}

// join adds the references of a part.
func (d *deps) join(o *deps) {
	for _, p := range []struct{ to, from *names }{
		{&d.routes, &o.routes}, {&d.endpoints, &o.endpoints}, {&d.clusters, &o.clusters}, {&d.secrets, &o.secrets},
	} {
		for _, n := range *p.from {
			p.to.add(n)
		}
	}
	d.inline = append(d.inline, o.inline...)
}
