// Package inspect tells of one thing of a mesh all that is in force on it, and
// which line says so. It asks a whatif.World, so what it says is what proxies get.
//
//	in := inspect.New(w, findings)          // findings of analyze, may be nil
//	d, err := in.Describe(ctx, resource.KindService, "default", "reviews")
//	d.Facts, d.Sections, d.Findings
//
// One file per kind of thing. Facts are what holds of the thing itself, sections
// are lists; both have the object and line that decided beside them.
package inspect
