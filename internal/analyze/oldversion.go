package analyze

import (
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// oldVersions reports objects that are written in a version of their API that has a
// successor.
func oldVersions(w *world, f *findings) {
	for _, k := range resource.Kinds() {
		if k.IsTolerated() {
			continue
		}
		current := k.APIVersion()
		for _, o := range w.of(k.Kind) {
			if o.APIVersion == current || len(o.Pos.File) == 0 && o.Pos.Line == 0 {
				continue
			}
			f.add(o, codeOldVersion, "apiVersion", text{
				o.APIVersion + " of " + k.Kind.Kind + " has the successor " + current, "none: the fields are the same", "write " + current,
			})
			f.edit(diag.Edit{Path: "apiVersion", Value: current})
		}
	}
}
