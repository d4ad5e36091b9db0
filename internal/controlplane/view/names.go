package view

import (
	"fmt"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/nametable"
)

func nameKey(service string) string    { return "names|" + service }
func nameTableKey(scope string) string { return "nametable|" + scope }

// nameTableName is the name of the one table that agents of stock Envoys get.
const nameTableName = "nametable"

// nameBundles derives DNS answers for native proxies: one resource per host, a table
// with that host alone.
func (v *View) nameBundles() collection.Collection[*Bundle] {
	byService := collection.NewIndex(v.m.Names, "service", func(n *derive.Name) []string { return []string{n.Service} })
	v.namesByService = byService
	return collection.Derive(v.g, "name-bundles", v.m.Services, func(c *collection.Ctx, s *mesh.Service) (*Bundle, bool) {
		b := &Bundle{Key: nameKey(s.CollectionKey())}
		b.blame(s.Origin)
		for _, n := range collection.FetchIndex(c, byService, s.CollectionKey()) {
			b.addTable(n.Host, nametable.Table{n.Host: n.Info})
		}
		return b, true
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
			for _, n := range collection.FetchIndex(c, v.namesByService, u.service) {
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
