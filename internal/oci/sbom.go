package oci

import (
	"encoding/json"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// SBOM is the bill of materials of a program for one architecture: CycloneDX, in
// JSON. It lists what the Go tool says is in the binary, no more and no less, and
// the files of others that are beside it, with their sums and licences.
type SBOM struct {
	Program, Architecture string
	JSON                  []byte
}

// SBOMMediaType is what registries know it by.
const SBOMMediaType = "application/vnd.cyclonedx+json"

type cyclone struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []licensed `json:"licenses,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// licensed is an SPDX expression.
type licensed struct {
	Expression string `json:"expression"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newSBOM(r Release, p Program, b Binary, e *Envoy) (SBOM, error) {
	doc := cyclone{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{
			Timestamp: r.Created.Format(time.RFC3339),
			Component: component{
				Type: "application", Ref: p.Name, Name: p.Name, Version: r.Version,
				PURL: purl(b.build.Main.Path, r.Version),
				Properties: []property{
					{"meshctl:architecture", "linux/" + b.Architecture},
					{"meshctl:package", b.build.Path},
				},
			},
		},
		Components: []component{{
			Type: "library", Ref: "stdlib", Name: "stdlib", Version: b.build.GoVersion,
			PURL: purl("stdlib", strings.TrimPrefix(b.build.GoVersion, "go")),
		}},
	}
	for _, m := range b.build.Deps {
		doc.Components = append(doc.Components, module(m))
	}
	if e != nil {
		doc.Components = append(doc.Components, e.components()...)
	}
	slices.SortFunc(doc.Components, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	text, err := json.MarshalIndent(doc, "", "  ")
	return SBOM{Program: p.Name, Architecture: b.Architecture, JSON: append(text, '\n')}, err
}

// module is what was linked: a replacement, if there is one.
func module(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	c := component{Type: "library", Ref: purl(m.Path, m.Version), Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version)}
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}} // of the module's tree, as in go.sum
	}
	return c
}

// purl is the package URL of a Go module.
func purl(path, version string) string {
	var parts []string
	for s := range strings.SplitSeq(path, "/") {
		parts = append(parts, url.PathEscape(s))
	}
	out := "pkg:golang/" + strings.Join(parts, "/")
	if version != "" {
		out += "@" + url.PathEscape(version)
	}
	return out
}
