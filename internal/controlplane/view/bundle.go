package view

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// codeGeneration: a resource could not be made; it is set aside.
const codeGeneration = "MSH0210"

// Bundle is resources that are made together, with what is wrong with them and
// whom to blame.
type Bundle struct {
	Key       string
	Resources []*xdsserve.Resource
	// Origins are the objects that the resources come from, the deciding one first.
	Origins  []mesh.Origin
	Findings []diag.Diagnostic
}

// CollectionKey makes bundles usable in collections.
func (b *Bundle) CollectionKey() string { return b.Key }

// Equal compares bytes by their versions.
func (b *Bundle) Equal(c *Bundle) bool {
	return slices.EqualFunc(b.Resources, c.Resources, sameResource) && slices.Equal(b.Origins, c.Origins) &&
		slices.Equal(b.Findings, c.Findings)
}

func sameResource(x, y *xdsserve.Resource) bool {
	return x == y || x.TypeURL() == y.TypeURL() && x.Name() == y.Name() && x.Version() == y.Version()
}

// add serialises a message; one that cannot be is set aside with a finding.
func (b *Bundle) add(name string, msg proto.Message) {
	r, err := xdsserve.NewResource(name, msg)
	if err != nil {
		b.refuse(name, err)
		return
	}
	b.Resources = append(b.Resources, r)
}

// refuse reports that a resource is set aside.
func (b *Bundle) refuse(name string, err error) {
	d := diag.Diagnostic{
		Code: codeGeneration, Severity: diag.Error, Message: fmt.Sprintf("generate %s: %v", name, err),
		Effect: "proxies do not get this resource", Fix: "simplify the object; this is a defect in the mesh, please report it",
	}
	if len(b.Origins) > 0 {
		d.Object, d.Pos = b.Origins[0].Ref(), b.Origins[0].Pos
	}
	b.Findings = append(b.Findings, d)
}

// blame adds origins, without repetition and without defaults.
func (b *Bundle) blame(os ...mesh.Origin) {
	for _, o := range os {
		if !o.IsZero() && !slices.Contains(b.Origins, o) {
			b.Origins = append(b.Origins, o)
		}
	}
}

// guard runs a generator of what lets traffic in. If it panics, a defect of ours,
// its resources are set aside and the port refuses, for an older policy must
// not stay in force unnoticed. Outbound generators run without it: there the
// collection keeps the last good bundle, since a missing virtual host would send
// requests elsewhere.
func (b *Bundle) guard(name string, generate func()) {
	defer func() {
		if p := recover(); p != nil {
			b.refuse(name, fmt.Errorf("panic: %v", p))
		}
	}()
	generate()
}
