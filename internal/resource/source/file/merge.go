package file

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// merge unites the objects of all files. Where two places define the same
// object, the one first by path and line wins, whatever was read first; text
// that is good now wins over a version kept from before, and that over what stands in
// for a policy that was never good.
func merge(files map[string]*fileState) ([]*resource.Object, []diag.Diagnostic) {
	var objects []*resource.Object
	var ds []diag.Diagnostic
	winners := map[resource.Key]*resource.Object{}
	paths := slices.Sorted(maps.Keys(files))
	for _, path := range paths {
		ds = append(ds, files[path].findings...)
		for _, o := range files[path].objects {
			first, taken := winners[o.Key]
			if !taken {
				winners[o.Key] = o
				objects = append(objects, o)
				continue
			}
			ds = append(ds, duplicate(first, o))
		}
	}
	second := func(of func(*fileState) []*resource.Object) {
		for _, path := range paths {
			for _, o := range of(files[path]) {
				if _, taken := winners[o.Key]; !taken {
					winners[o.Key] = o
					objects = append(objects, o)
				}
			}
		}
	}
	second(func(f *fileState) []*resource.Object { return f.kept })
	second(func(f *fileState) []*resource.Object { return f.refusals })
	return objects, ds
}

func duplicate(first, second *resource.Object) diag.Diagnostic {
	d := diag.Diagnostic{
		Code: resource.CodeDuplicate, Severity: diag.Error, Object: second.Ref(), Pos: second.Pos,
		Message: fmt.Sprintf("the object is defined at %s already, with other content", first.Pos),
		Effect:  fmt.Sprintf("the definition at %s is used", first.Pos), Fix: "remove or rename one of the two",
	}
	if first.Hash == second.Hash {
		d.Severity = diag.Warning
		d.Message = fmt.Sprintf("the object is defined at %s already, with the same content", first.Pos)
	}
	return d
}
