// Package conformance runs the conformance suite of the Gateway API against a
// cluster with the mesh: `make conformance`. It is a module of its own, so that the
// suite's requirements stay out of the product's. What comes out is in
// docs/conformance.md.
package conformance
