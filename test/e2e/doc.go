// Package e2e brings a whole mesh up as a user does, with the meshctl program,
// and sends real traffic through it: every manifest of samples/bookinfo, the
// bytes on the wire, a control plane that is gone, certificates that rotate,
// programs that are killed, and that nothing is left at the end.
//
//	make e2e
//	MESH_BIN=$PWD/bin go test -tags e2e -count=1 ./test/e2e/ -run 'TestMesh/canary'
//
// It needs what `meshctl up` needs, no more: it runs as root and as anybody.
// MESH_BIN is the folder with the programs. Tests share one mesh, one after the
// other; each takes back what it applied.
package e2e
