// Package interop shows that both data planes take what the control plane
// generates: a stock Envoy, started on it, and the native proxy's compiler. It
// has only tests.
//
//	make interop        # fails when there is no Envoy
//	MESH_ENVOY=/path/to/envoy go test ./test/interop/...
package interop
