// Package conformance runs the conformance suite of the Gateway API against a
// cluster with the mesh: `make conformance`. It is a module of its own, so that the
// suite's requirements stay out of the product's. What comes out is in
// docs/conformance.md.
//
//	MESH_BIN=$PWD/../../bin go test -count=1 -v -timeout 60m .
//	MESH_BIN=... go test -count=1 -v -run TestGateways . -args -run-test=HTTPRouteWeight
//
// MESH_BIN is the folder with the programs, with images/ in it and with cluster,
// echo-basic and meshecho; the suite's own flags follow -args. The images that the
// suite's manifests name are made of echo-basic, which is built of the suite's own
// source, and of meshecho, which stands in for the client and server of its mesh tests.
package conformance
