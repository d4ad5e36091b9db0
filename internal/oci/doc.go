// Package oci makes the images of the mesh without a container engine: from
// static Go programs, or from the running meshctl, which is all programs by its
// name. The same inputs give the same bytes.
//
//	set, err := oci.Build(oci.Release{Hub: hub, Tag: tag}, oci.Folders{"bin/linux_amd64"})
//	err = set.WriteArchives("bin/images")     // meshd.tar, meshproxy.tar, ... and their SBOMs
//
// An image has two layers: the ground, equal in all of them (users, trusted
// roots, an empty /tmp), and the program in /usr/local/bin. There is no shell.
//
//	programs.go  which images there are, and as whom they run
//	binary.go    a program's file: architecture, linking, what it was built from
//	layer.go     the layers, as reproducible tar files
//	image.go     config, labels, one index over all architectures
//	sbom.go      CycloneDX, from what the Go tool wrote into the binary
//	archive.go   OCI layouts in tar files: written, and read with limits
//	push.go      to a registry
package oci
