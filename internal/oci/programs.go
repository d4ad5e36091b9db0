package oci

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// DefaultHub is where an install takes images from, unless it is told otherwise.
const DefaultHub = "docker.io/meshctl"

// sampleTag is the tag by which the sample's manifests ask for bookinfo,
// whatever the release.
const sampleTag = "1.0"

// Program is a program that has an image.
type Program struct {
	Name  string
	Title string
	User  int      // and group
	Tags  []string // besides the release's
	// Sample says that no install needs it.
	Sample bool
	// File is the program's file, where the image is called otherwise.
	File string
	// Envoy says that the image has an Envoy beside the program, which is given when
	// it is built; only then it is.
	Envoy bool
}

// file is the name of the program's file.
func (p Program) file() string { return cmp.Or(p.File, p.Name) }

// Programs are all of them. What captures traffic, by init container or CNI, is in
// meshproxy.
func Programs() []Program {
	return []Program{
		{Name: "meshd", Title: "control plane of the mesh", User: 65532},
		{Name: "meshproxy", Title: "sidecar and gateway of the mesh", User: 1337},
		{Name: "meshproxy-envoy", Title: "sidecar and gateway with a stock Envoy, for the data plane envoy", User: 1337, File: "meshproxy", Envoy: true},
		{Name: "bookinfo", Title: "the Bookinfo sample", User: 65532, Tags: []string{sampleTag}, Sample: true},
	}
}

// Reference is the name of a program's image.
func Reference(hub, tag, program string) string {
	return strings.TrimSuffix(hub, "/") + "/" + program + ":" + tag
}

// Tag makes a tag of a version: what a tag may not hold becomes a dash.
func Tag(version string) string {
	tag := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, version)
	return cmp.Or(strings.TrimLeft(tag, ".-"), "dev")
}

// CheckHub says what is wrong with a hub, the part of a reference before the
// program.
func CheckHub(hub string) error {
	if hub == "" || strings.HasSuffix(hub, "/") {
		return fmt.Errorf("hub %q is not like %s", hub, DefaultHub)
	}
	if _, err := name.NewRepository(hub + "/meshd"); err != nil {
		return fmt.Errorf("hub %q: %w", hub, err)
	}
	return nil
}
