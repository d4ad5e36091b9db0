// Package compile turns xDS resources into a snapshot.Snapshot.
//
// How to use it:
//
//  1. New makes a Compiler. It belongs to one goroutine.
//  2. Apply takes what the xDS client received (raw bytes of one type). It gives
//     an error for each resource it refuses, with the path of the field; such a
//     resource keeps its last good version, and the client answers NACK.
//  3. Snapshot builds the next generation out of what is complete: clusters
//     whose endpoints and secrets are there, route tables whose clusters are
//     there, listeners whose route tables and secrets are there. What waits is
//     in Snapshot.Missing; ReleaseHeld ends the waiting (after a timeout).
//
// Nothing is ignored silently. Every field that is set must be in the table of
// fields.go, as handled or as harmless with a reason; any other field, unknown
// field number, filter or extension makes the resource be refused by name.
//
// Objects that did not change keep their pointers: unchanged resources, filter
// chains of a changed listener, virtual hosts of a changed route table. It does
// no I/O; files named in a configuration are read by Options.ReadFile if that
// is given, and refused otherwise.
package compile
