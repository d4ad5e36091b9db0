// Package snapshot holds the compiled configuration of the proxy: immutable
// values, shared by all workers, in the form in which the request path wants
// them. It knows no xDS; package compile makes it from xDS resources.
//
// How to use it:
//
//  1. Load the current *Snapshot from the engine's atomic pointer once per turn.
//  2. A connection or request keeps the snapshot (or the objects of it) with
//     which it started; objects are never changed after publication.
//  3. Objects that did not change keep their pointer from one generation to the
//     next, so pointer comparison says what changed; Diff gives the names.
//
// Durations hold effective values (defaults are filled in by compile): 0 means
// "off" unless a field says otherwise. Strings that name things (clusters,
// secrets, route tables) are interned.
package snapshot
