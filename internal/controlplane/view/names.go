package view

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/nametable"
)

func nameKey(service string) string    { return "names|" + service } // of derive.NameKey
func nameTableKey(scope string) string { return "nametable|" + scope }

// nameTableName is the name of the one table that agents of stock Envoys get.
const nameTableName = "nametable"

// nameBundles derives DNS answers for native proxies: one resource per host, a table
// with that host alone.
func (v *View) nameBundles() collection.Collection[*Bundle] {
	byService := collection.NewIndex(v.m.Names, "service", func(n *derive.Name) []string { return []string{derive.NameKey(n.Service, n.Variant)} })
	v.namesByService = byService
	return collection.DeriveMany(v.g, "name-bundles", v.m.Services, func(c *collection.Ctx, s *mesh.Service) []*Bundle {
		var out []*Bundle
		for _, variant := range append(slices.Sorted(maps.Keys(s.ClusterAddresses)), "") {
			key := derive.NameKey(s.CollectionKey(), variant)
			b := &Bundle{Key: nameKey(key)}
			b.blame(s.Origin)
			for _, n := range collection.FetchIndex(c, byService, key) {
				b.addTable(n.Host, nametable.Table{n.Host: n.Info})
			}
			out = append(out, b)
		}
		return out
	})
}

// nameTableBundles derives the whole table of each scope of stock Envoys.
func (v *View) nameTableBundles() collection.Collection[*Bundle] {
	return collection.Derive(v.g, "nametable-bundles", v.Plans, func(c *collection.Ctx, p *Plan) (*Bundle, bool) {
		if p.Scope.Dialect == mesh.DialectNative {
			return nil, false
		}
		b := &Bundle{Key: nameTableKey(p.Scope.Key)}
		table := nametable.Table{}
		for _, u := range p.outbound {
			s, ok := collection.Fetch(c, v.m.Services, u.service)
			if !ok {
				continue
			}
			for _, n := range collection.FetchIndex(c, v.namesByService, derive.NameKey(u.service, s.Variant(p.Scope.Cluster))) {
				table[n.Host] = n.Info
			}
		}
		b.addTable(nameTableName, table)
		return b, true
	})
}

func (b *Bundle) addTable(name string, t nametable.Table) {
	r, err := xdsserve.NewRawResource(nametable.TypeURL, name, t.Marshal())
	if err != nil {
		b.refuse(name, fmt.Errorf("name table: %w", err))
		return
	}
	b.Resources = append(b.Resources, r)
}
