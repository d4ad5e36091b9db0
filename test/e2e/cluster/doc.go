// Package cluster takes the mesh through a user's tour on a real Kubernetes, with
// the programs and the commands that a user has: install, label, deploy, open the
// gateway, send traffic, change it, restart things under load, uninstall.
//
//	make e2e-cluster
//	MESH_BIN=$PWD/bin go test -tags e2e -count=1 -v ./test/e2e/cluster/ -run 'TestTour/install'
//
// MESH_BIN is the folder with the programs, with images/ in it and with cluster,
// the program of test/cluster. The tour brings its own cluster up and takes it
// down again; one that runs already under its name (MESH_CLUSTER, default meshe2e)
// is used and stays, which is quicker while writing a test. It needs root.
//
// Steps share one mesh, one after the other; each takes back what it applied.
package cluster
