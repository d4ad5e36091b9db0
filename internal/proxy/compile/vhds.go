package compile

import (
	"fmt"
	"maps"
	"strings"
)

// hostTable is the route table of a VHDS resource: its name is
// <route configuration>/<virtual host>.
func hostTable(resource string) (string, error) {
	i := strings.LastIndexByte(resource, '/')
	if i <= 0 {
		return "", in("name", fmt.Errorf("%q is not <route configuration>/<virtual host>", resource))
	}
	return resource[:i], nil
}

// applyHosts takes a change of VHDS up as one: a host may hand its domains to
// another. If what comes of it is no table, each host is tried alone, so that
// only those at fault are refused.
func (c *Compiler) applyHosts(u Update) []*ResourceError {
	var out []*ResourceError
	refuse := func(name string, err error) {
		out = append(out, &ResourceError{TypeURL: u.TypeURL, Name: name, Err: err})
	}
	changes := map[string]map[string]*hostPiece{} // by table and resource; nil: removed
	note := func(table, name string, p *hostPiece) {
		if changes[table] == nil {
			changes[table] = map[string]*hostPiece{}
		}
		changes[table][name] = p
	}
	for _, name := range u.Removed {
		if table, err := hostTable(name); err == nil {
			note(table, name, nil)
		}
	}
	for i := range u.Set {
		raw := &u.Set[i]
		table, err := hostTable(raw.Name)
		if err != nil {
			refuse(raw.Name, err)
			continue
		}
		k := c.keyOf(raw.Bytes)
		if old := c.tableParts[table]; old != nil && old.vhds[raw.Name] != nil && old.vhds[raw.Name].key == k {
			continue
		}
		err = c.guard(func() error {
			p, err := c.hostPiece(k, raw.Bytes)
			if err == nil {
				note(table, raw.Name, p)
			}
			return err
		})
		if err != nil {
			refuse(raw.Name, err)
		}
	}
	for _, table := range sortedKeys(changes) {
		change := changes[table]
		if c.guard(func() error { return c.withHosts(table, change) }) == nil {
			continue
		}
		gone := maps.Clone(change)
		maps.DeleteFunc(gone, func(_ string, p *hostPiece) bool { return p != nil })
		_ = c.withHosts(table, gone) // fewer hosts cannot clash
		for _, name := range sortedKeys(change) {
			if change[name] == nil {
				continue
			}
			if err := c.guard(func() error { return c.withHosts(table, map[string]*hostPiece{name: change[name]}) }); err != nil {
				refuse(name, err)
			}
		}
	}
	return out
}

// withHosts rebuilds a table with VHDS hosts set, or removed: nil. Hosts of a
// table that is not there yet wait for it.
func (c *Compiler) withHosts(table string, change map[string]*hostPiece) error {
	old := c.tableParts[table]
	have := c.orphanHosts[table]
	if old != nil {
		have = old.vhds
	}
	hosts := make(map[string]*hostPiece, len(have)+len(change))
	maps.Copy(hosts, have)
	changed := false
	for name, p := range change {
		changed = changed || hosts[name] != p
		if p == nil {
			delete(hosts, name)
		} else {
			hosts[name] = p
		}
	}
	switch {
	case !changed:
		return nil
	case old == nil && len(hosts) == 0:
		delete(c.orphanHosts, table)
		return nil
	case old == nil:
		c.orphanHosts[table] = hosts
		return nil
	}
	next := *old
	next.vhds = hosts
	return c.assemble(table, old, &next)
}
