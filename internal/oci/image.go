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

// Build makes the images of all programs. Without envoys there is none that has an
// Envoy; with them it is made for their architectures.
func Build(r Release, from Source, envoys ...Envoy) (*Set, error) {
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
		if p.Envoy && len(envoys) == 0 {
			continue
		}
		image, err := buildImage(r, p, base, from, layers, envoys)
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

func buildImage(r Release, p Program, base v1.Layer, from Source, layers layerCache, envoys []Envoy) (Image, error) {
	binaries, err := from.binaries(p)
	if err != nil {
		return Image{}, err
	}
	var beside map[string]*Envoy // by architecture
	if p.Envoy {
		if binaries, beside, err = pair(binaries, envoys); err != nil {
			return Image{}, err
		}
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
		image, err := assemble(r, p, b, base, layer, beside[b.Architecture])
		if err != nil {
			return Image{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: b.platform()}})
		sbom, err := newSBOM(r, p, b, beside[b.Architecture])
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

// pair are the binaries that an Envoy is there for, and the Envoys by architecture.
func pair(binaries []Binary, envoys []Envoy) ([]Binary, map[string]*Envoy, error) {
	by := map[string]*Envoy{}
	var out []Binary
	for i, e := range envoys {
		if by[e.Architecture] != nil {
			return nil, nil, fmt.Errorf("two Envoys are given for %s", e.Architecture)
		}
		by[e.Architecture] = &envoys[i]
		at := slices.IndexFunc(binaries, func(b Binary) bool { return b.Architecture == e.Architecture })
		if at < 0 {
			return nil, nil, fmt.Errorf("an Envoy is given for %s, and no program", e.Architecture)
		}
		out = append(out, binaries[at])
	}
	slices.SortFunc(out, func(a, b Binary) int { return cmp.Compare(a.Architecture, b.Architecture) })
	return out, by, nil
}

func assemble(r Release, p Program, b Binary, base, program v1.Layer, envoy *Envoy) (v1.Image, error) {
	annotations := r.annotations(p)
	if envoy != nil {
		annotations["org.opencontainers.image.licenses"] = envoy.license()
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: b.Architecture,
		Created: v1.Time{Time: r.Created},
		RootFS:  v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/" + binFolder + "/" + p.file()},
			User:       strconv.Itoa(p.User) + ":" + strconv.Itoa(p.User),
			WorkingDir: "/",
			Env: []string{
				"PATH=/" + binFolder,
				"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
			},
			Labels: annotations,
		},
	})
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: r.Created}
	add := func(l v1.Layer, comment string) mutate.Addendum {
		return mutate.Addendum{Layer: l, History: v1.History{Created: created, CreatedBy: "meshctl images build", Comment: comment}}
	}
	adds := []mutate.Addendum{add(base, "users, trusted roots, /tmp"), add(program, p.file())}
	if envoy != nil {
		layer, err := envoy.layer()
		if err != nil {
			return nil, err
		}
		adds = append(adds, add(layer, "Envoy "+envoy.Version))
	}
	if image, err = mutate.Append(image, adds...); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(image, annotations).(v1.Image)
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
