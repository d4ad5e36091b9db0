// Package source brings user intent into the mesh: files, stdin, objects put in
// by API, a cluster. Each place is a Source; it tells a Sink which objects there
// are and what is wrong with the rest.
//
// Rules every source keeps:
//
//  1. The first Apply holds everything found at the start, even when that is
//     nothing, so that the mesh knows when it has heard from each source.
//  2. A later Apply holds only what changed. Applying the same object again is
//     harmless.
//  3. Report replaces all findings of the source that reported before: what is
//     no longer reported is no longer wrong.
//  4. A broken object never replaces a good one: its last good version stays in
//     force, and a finding (MSH0105) says so. A policy that never was good is
//     replaced by one that refuses (resource.Document.StandIn, MSH0107).
package source

import (
	"context"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Source is one place where objects come from.
type Source interface {
	// Name tells sources apart in findings and dumps, e.g. "file:samples/bookinfo".
	Name() string
	// Run feeds the sink until ctx ends, then returns nil. An error means that
	// the source cannot work at all; what a user can repair while it runs (a
	// missing folder, a broken file) is a finding instead. Run is called once.
	Run(ctx context.Context, sink Sink) error
}

// Sink takes what sources find. Calls for one source come one after another;
// different sources may call at the same time. A call must not block for long.
type Sink interface {
	// Apply adds or replaces the objects in set and removes those in deleted,
	// as one change.
	Apply(source string, set []*resource.Object, deleted []resource.Key)
	// Report replaces the findings of a source.
	Report(source string, ds []diag.Diagnostic)
}
