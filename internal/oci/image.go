package oci

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Release is what all images of one build have in common.
type Release struct {
	Hub, Tag string
	Version  string
	// Created is written as the time of everything; zero is the epoch. The time of
	// the commit, not of the build, keeps the bytes the same.
	Created time.Time
}

// Image is one program for all architectures.
type Image struct {
	Program    Program
	References []string // the first is the release's
	Index      v1.ImageIndex
	SBOMs      []SBOM // one per architecture
}

// Set is the images of a release.
type Set struct {
	Release Release
	Images  []Image
}

// Build makes the images of all programs.
func Build(r Release, from Source) (*Set, error) {
	if err := CheckHub(r.Hub); err != nil {
		return nil, err
	}
	if r.Created.IsZero() {
		r.Created = time.Unix(0, 0)
	}
	r.Created = r.Created.UTC()
	base, err := ground()
	if err != nil {
		return nil, err
	}
	set := &Set{Release: r}
	layers := layerCache{}
	for _, p := range Programs() {
		image, err := buildImage(r, p, base, from, layers)
		if err != nil {
			return nil, fmt.Errorf("image of %s: %w", p.Name, err)
		}
		set.Images = append(set.Images, image)
	}
	return set, nil
}

// layerCache has the layers of files that are in several images.
type layerCache map[string]v1.Layer

func (c layerCache) of(b Binary, names []string) (v1.Layer, error) {
	if l, ok := c[b.Path]; ok {
		return l, nil
	}
	l, err := programLayer(b.Path, names)
	if err == nil {
		c[b.Path] = l
	}
	return l, err
}

func buildImage(r Release, p Program, base v1.Layer, from Source, layers layerCache) (Image, error) {
	binaries, err := from.binaries(p)
	if err != nil {
		return Image{}, err
	}
	slices.SortFunc(binaries, func(a, b Binary) int { return cmp.Compare(a.Architecture, b.Architecture) })
	out := Image{Program: p, References: []string{Reference(r.Hub, r.Tag, p.Name)}}
	for _, t := range p.Tags {
		out.References = append(out.References, Reference(r.Hub, t, p.Name))
	}
	annotations := r.annotations(p)
	index := mutate.IndexMediaType(v1.ImageIndex(empty.Index), types.OCIImageIndex)
	for _, b := range binaries {
		layer, err := layers.of(b, from.names(p))
		if err != nil {
			return Image{}, err
		}
		image, err := assemble(r, p, b, base, layer)
		if err != nil {
			return Image{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: b.platform()}})
		sbom, err := newSBOM(r, p, b)
		if err != nil {
			return Image{}, err
		}
		out.SBOMs = append(out.SBOMs, sbom)
	}
	annotated, ok := mutate.Annotations(index, annotations).(v1.ImageIndex)
	if !ok {
		return Image{}, fmt.Errorf("annotations made %T of an index", index)
	}
	out.Index = annotated
	return out, nil
}

func assemble(r Release, p Program, b Binary, base, program v1.Layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: b.Architecture,
		Created: v1.Time{Time: r.Created},
		RootFS:  v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/" + binFolder + "/" + p.Name},
			User:       strconv.Itoa(p.User) + ":" + strconv.Itoa(p.User),
			WorkingDir: "/",
			Env: []string{
				"PATH=/" + binFolder,
				"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
			},
			Labels: r.annotations(p),
		},
	})
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: r.Created}
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: base, History: v1.History{Created: created, CreatedBy: "meshctl images build", Comment: "users, trusted roots, /tmp"}},
		mutate.Addendum{Layer: program, History: v1.History{Created: created, CreatedBy: "meshctl images build", Comment: p.Name}},
	)
	if err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, r.annotations(p)).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("annotations made %T of an image", image)
	}
	return annotated, nil
}

func (r Release) annotations(p Program) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       p.Name,
		"org.opencontainers.image.description": p.Title,
		"org.opencontainers.image.version":     r.Version,
		"org.opencontainers.image.created":     r.Created.Format(time.RFC3339),
		"org.opencontainers.image.source":      "https://github.com/meshctl/meshctl",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}
