package compare

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/nametable"
)

// Proxy is whose configuration is compared.
type Proxy struct {
	Name      string `json:"name"` // of the pod
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Kind      string `json:"kind"` // sidecar, gateway
}

// String is pod.namespace.
func (p Proxy) String() string { return p.Name + "." + p.Namespace }

// Config is what a proxy is sent.
type Config struct {
	Proxy    Proxy
	Snapshot *xdsserve.Snapshot
}

// Diff is what differs for all proxies.
type Diff struct {
	// Groups, each of proxies that differ in the same: those of most proxies first.
	Groups []Group `json:"groups"`
	// Joined and Left are proxies that are only in one of the two.
	Joined []Proxy `json:"joined,omitempty"`
	Left   []Proxy `json:"left,omitempty"`
}

// Empty reports whether nothing differs.
func (d *Diff) Empty() bool { return len(d.Groups)+len(d.Joined)+len(d.Left) == 0 }

// Group are changes that come to the same proxies.
type Group struct {
	Proxies []Proxy  `json:"proxies"`
	Changes []Change `json:"changes"`
}

// Verb is what happens to a resource.
type Verb string

// Verbs.
const (
	Added   Verb = "added"
	Removed Verb = "removed"
	Changed Verb = "changed"
)

// Change is one resource that differs. Fields are set when it is Changed.
type Change struct {
	Type   string  `json:"type"` // cluster, endpoints, listener, route, host, secret, names, extension
	Name   string  `json:"name"`
	Verb   Verb    `json:"verb"`
	Fields []Field `json:"fields,omitempty"`
}

// types in the order in which a reader asks: what listens, where requests go, what
// is behind.
var types = []struct{ url, name string }{
	{xdsserve.TypeListener, "listener"},
	{xdsserve.TypeRoute, "route"},
	{xdsserve.TypeVirtualHost, "host"},
	{xdsserve.TypeCluster, "cluster"},
	{xdsserve.TypeEndpoint, "endpoints"},
	{xdsserve.TypeSecret, "secret"},
	{xdsserve.TypeExtension, "extension"},
	{xdsserve.TypeNameTable, "names"},
}

// Configs compares what proxies are sent. A proxy is the same when its namespace
// and name are.
func Configs(before, after []Config) (*Diff, error) {
	was := map[string]Config{}
	for _, c := range before {
		was[c.Proxy.String()] = c
	}
	d := &Diff{Groups: []Group{}}
	seen := map[string]*found{}
	memo := map[[3]string][]*found{}
	for _, now := range after {
		old, ok := was[now.Proxy.String()]
		if !ok {
			d.Joined = append(d.Joined, now.Proxy)
			continue
		}
		delete(was, now.Proxy.String())
		for rank, t := range types {
			a, b := old.Snapshot.Set(t.url), now.Snapshot.Set(t.url)
			if a.Version() == b.Version() {
				continue
			}
			key := [3]string{t.url, a.Version(), b.Version()}
			changes, known := memo[key]
			if !known {
				var err error
				if changes, err = sets(rank, a, b, seen); err != nil {
					return nil, err
				}
				memo[key] = changes
			}
			for _, c := range changes {
				c.proxies = append(c.proxies, now.Proxy)
			}
		}
	}
	for _, c := range was {
		d.Left = append(d.Left, c.Proxy)
	}
	for _, l := range [][]Proxy{d.Joined, d.Left} {
		slices.SortFunc(l, compareProxies)
	}
	d.group(seen)
	return d, nil
}

// found is a change with the proxies that it comes to.
type found struct {
	Change
	rank    int
	proxies []Proxy
}

func compareProxies(a, b Proxy) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// group puts changes together that come to the same proxies.
func (d *Diff) group(seen map[string]*found) {
	type bundle struct {
		proxies []Proxy
		changes []*found
	}
	bundles := map[string]*bundle{}
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		c := seen[id]
		slices.SortFunc(c.proxies, compareProxies)
		var key strings.Builder
		for _, p := range c.proxies {
			key.WriteString(p.String() + " ")
		}
		b := bundles[key.String()]
		if b == nil {
			b = &bundle{proxies: c.proxies}
			bundles[key.String()] = b
		}
		b.changes = append(b.changes, c)
	}
	for _, b := range bundles {
		slices.SortFunc(b.changes, func(x, y *found) int {
			return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(x.Name, y.Name))
		})
		g := Group{Proxies: b.proxies}
		for _, c := range b.changes {
			g.Changes = append(g.Changes, c.Change)
		}
		d.Groups = append(d.Groups, g)
	}
	slices.SortFunc(d.Groups, func(a, b Group) int {
		return cmp.Or(-cmp.Compare(len(a.Proxies), len(b.Proxies)), slices.CompareFunc(a.Proxies, b.Proxies, compareProxies))
	})
}

// sets compares the resources of a type. Changes that read the same are one, kept
// in seen, although the resources around what changed may differ between proxies.
func sets(rank int, a, b *xdsserve.Set, seen map[string]*found) ([]*found, error) {
	var out []*found
	var failed error
	xdsserve.Diff(a, b, func(old, now *xdsserve.Resource) {
		if failed != nil {
			return
		}
		c := Change{Type: types[rank].name, Verb: Changed}
		switch {
		case old == nil:
			c.Name, c.Verb = now.Name(), Added
		case now == nil:
			c.Name, c.Verb = old.Name(), Removed
		default:
			c.Name = now.Name()
			if c.Fields, failed = resources(old, now); len(c.Fields) == 0 {
				return
			}
		}
		id := c.id(rank)
		f := seen[id]
		if f == nil {
			f = &found{Change: c, rank: rank}
			seen[id] = f
		}
		out = append(out, f)
	})
	return out, failed
}

// id is the change as text.
func (c Change) id(rank int) string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(rank) + "\x00" + c.Name + "\x00" + string(c.Verb))
	for _, f := range c.Fields {
		b.WriteString("\x00" + f.Path + "\x00" + f.Old + "\x00" + f.New)
	}
	return b.String()
}

func resources(old, now *xdsserve.Resource) ([]Field, error) {
	a, err := resourceTree(old)
	if err != nil {
		return nil, err
	}
	b, err := resourceTree(now)
	if err != nil {
		return nil, err
	}
	var d differ
	d.compare("", a, b)
	return d.fields, nil
}

func resourceTree(r *xdsserve.Resource) (any, error) {
	if r.TypeURL() == xdsserve.TypeNameTable {
		return namesTree(r)
	}
	m, err := Message(r)
	if err != nil {
		return nil, err
	}
	return treeOf(m.ProtoReflect()), nil
}

// Message decodes a resource.
func Message(r *xdsserve.Resource) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByURL(r.TypeURL())
	if err != nil {
		return nil, fmt.Errorf("resource %s: %w", r.Name(), err)
	}
	m := t.New()
	if err := proto.Unmarshal(r.Body(), m.Interface()); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", m.Descriptor().Name(), r.Name(), err)
	}
	return m.Interface(), nil
}

func namesTree(r *xdsserve.Resource) (any, error) {
	table, err := nametable.Unmarshal(r.Body())
	if err != nil {
		return nil, fmt.Errorf("decode the names %s: %w", r.Name(), err)
	}
	out := make(map[string]any, len(table))
	for host, info := range table {
		ips := slices.Sorted(slices.Values(info.IPs))
		out[host] = strings.Join(ips, ", ")
	}
	return out, nil
}
