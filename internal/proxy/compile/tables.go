package compile

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type hostPiece = piece[*snapshot.VirtualHost]

// tableParts are the pieces of a route table: its head, the virtual hosts of
// RDS in order, and those of VHDS by resource name.
type tableParts struct {
	key     pieceKey // of the RDS bytes
	version string
	head    *piece[*snapshot.RouteTable]
	rds     []*hostPiece
	vhds    map[string]*hostPiece
	all     []*hostPiece // as in table
	table   *snapshot.RouteTable
}

func (c *Compiler) applyTable(raw *Raw) error {
	k := c.keyOf(raw.Bytes)
	if t := c.tableParts[raw.Name]; t != nil && t.key == k {
		return nil
	}
	rest, parts := split(raw.Bytes, tableHosts)
	if len(parts) > maxHosts {
		return in("virtual_hosts", fmt.Errorf("%d, at most %d", len(parts), maxHosts))
	}
	old := c.tableParts[raw.Name]
	head, err := c.tableHead(raw, old, rest)
	if err != nil {
		return err
	}
	next := &tableParts{key: k, version: raw.Version, head: head}
	if old != nil {
		next.vhds = old.vhds
	} else {
		next.vhds = c.orphanHosts[raw.Name]
	}
	known := map[pieceKey]*hostPiece{}
	if old != nil {
		for _, p := range old.rds {
			known[p.key] = p
		}
	}
	next.rds = make([]*hostPiece, len(parts))
	for i, p := range parts {
		hk := c.keyOf(p.bytes)
		if next.rds[i] = known[hk]; next.rds[i] != nil {
			continue
		}
		if next.rds[i], err = c.hostPiece(hk, p.bytes); err != nil {
			return at("virtual_hosts", i, err)
		}
	}
	if err := c.assemble(raw.Name, old, next); err != nil {
		return err
	}
	delete(c.orphanHosts, raw.Name)
	return nil
}

func (c *Compiler) tableHead(raw *Raw, old *tableParts, rest []byte) (*piece[*snapshot.RouteTable], error) {
	k := c.keyOf(rest)
	if old != nil && old.head.key == k {
		return old.head, nil
	}
	m := &routev3.RouteConfiguration{}
	if err := c.decode(rest, m); err != nil {
		return nil, err
	}
	if err := nameIs(raw, m.Name); err != nil {
		return nil, err
	}
	t, d, err := take(c, func() (*snapshot.RouteTable, error) { return c.routeTableHead(m) })
	return &piece[*snapshot.RouteTable]{key: k, obj: t, deps: d}, err
}

func (c *Compiler) hostPiece(k pieceKey, b []byte) (*hostPiece, error) {
	m := &routev3.VirtualHost{}
	if err := c.decode(b, m); err != nil {
		return nil, err
	}
	v, d, err := take(c, func() (*snapshot.VirtualHost, error) { return c.virtualHost(m) })
	if err != nil {
		return nil, err
	}
	return &hostPiece{key: k, obj: v, deps: d}, nil
}

// assemble makes the table of next, taking over from old what did not change.
func (c *Compiler) assemble(name string, old, next *tableParts) error {
	next.all = next.rds
	if len(next.vhds) > 0 {
		next.all = slices.Clone(next.rds)
		for _, n := range sortedKeys(next.vhds) {
			next.all = append(next.all, next.vhds[n])
		}
	}
	var err error
	if next.table = c.patched(old, next); next.table == nil {
		t := *next.head.obj
		hosts := make([]*snapshot.VirtualHost, len(next.all))
		for i, p := range next.all {
			hosts[i] = p.obj
		}
		if err = t.AddHosts(hosts); err != nil {
			return in("virtual_hosts", err)
		}
		next.table = &t
	}
	next.table.Version = next.version
	c.referTable(old, next)
	c.tableParts[name] = next
	// The references of tables are counted by piece, above.
	put(c, &c.tables, name, &entry[*snapshot.RouteTable]{key: next.key, obj: next.table})
	return nil
}

// maxPatched is how many changed virtual hosts are replaced one by one; more
// are cheaper to build anew.
const maxPatched = 4

// patched gives old's table with few virtual hosts replaced; nil when that is
// not possible.
func (c *Compiler) patched(old, next *tableParts) *snapshot.RouteTable {
	if old == nil || old.head != next.head || len(old.all) != len(next.all) {
		return nil
	}
	var diff []int
	for i, p := range next.all {
		if p == old.all[i] {
			continue
		}
		if diff = append(diff, i); len(diff) > maxPatched || !slices.Equal(p.obj.Domains, old.all[i].obj.Domains) {
			return nil
		}
	}
	t := old.table
	for _, i := range diff {
		t = t.ReplaceHost(i, next.all[i].obj)
	}
	if len(diff) == 0 {
		n := *t
		t = &n
	}
	return t
}

// referTable counts the references of new pieces and uncounts those of old ones.
func (c *Compiler) referTable(old, next *tableParts) {
	var gone []*hostPiece
	if old != nil {
		gone = old.all
	}
	if len(gone) == len(next.all) { // the usual case: compare place by place
		for i, p := range next.all {
			if p != gone[i] {
				c.refer(&p.deps, 1)
				c.refer(&gone[i].deps, -1)
			}
		}
	} else {
		for _, p := range next.all {
			c.refer(&p.deps, 1)
		}
		for _, p := range gone {
			c.refer(&p.deps, -1)
		}
	}
	c.refer(&next.head.deps, 1)
	if old != nil {
		c.refer(&old.head.deps, -1)
	}
}

func (c *Compiler) removeTable(name string) {
	t := c.tableParts[name]
	if t == nil {
		return
	}
	for _, p := range t.all {
		c.refer(&p.deps, -1)
	}
	c.refer(&t.head.deps, -1)
	if len(t.vhds) > 0 {
		c.orphanHosts[name] = t.vhds // they belong to the subscription, not to the table
	}
	delete(c.tableParts, name)
	removeFrom(c, &c.tables, name)
}
