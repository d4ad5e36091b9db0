package up

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/resource"
)

// entry is a way into the mesh for people.
type entry struct {
	Name   string
	URL    string
	Host   string // Host header to send, when it is not the URL's
	Wanted int    // the port that was asked for but in use
}

// virtualService is the part of one that says how to come in.
type virtualService struct {
	Hosts    []string `json:"hosts"`
	Gateways []string `json:"gateways"`
	HTTP     []struct {
		Match []struct {
			URI map[string]string `json:"uri"`
		} `json:"match"`
	} `json:"http"`
}

// entryPoints are the published URLs, with host and first path of each virtual
// service that is bound to a gateway. Where the control plane does not answer,
// the URLs alone.
func entryPoints(ctx context.Context, m *env.Local, status api.Status) []entry {
	var web []api.Publication
	for _, p := range status.Publications {
		if p.URL != "" && p.Error == "" {
			web = append(web, p)
		}
	}
	slices.SortFunc(web, func(a, b api.Publication) int { return strings.Compare(a.Name, b.Name) })
	kind := resource.KindVirtualService
	objects, err := m.API.Objects(ctx, kind.Group, kind.Kind, "", "")
	if err != nil {
		objects = nil
	}
	var out []entry
	for _, p := range web {
		if !strings.HasPrefix(p.URL, "http://") {
			continue // which hosts have a certificate is not known here
		}
		found := false
		for _, o := range objects {
			var vs struct {
				Spec virtualService `json:"spec"`
			}
			if json.Unmarshal(o.Raw, &vs) != nil || !vs.Spec.isPublic() {
				continue
			}
			found = true
			out = append(out, vs.Spec.entry(o.Name, p))
		}
		if !found {
			out = append(out, entry{Name: "gateway", URL: p.URL, Wanted: p.Wanted})
		}
	}
	return out
}

func (vs virtualService) isPublic() bool {
	return slices.ContainsFunc(vs.Gateways, func(g string) bool { return g != "mesh" })
}

func (vs virtualService) entry(name string, p api.Publication) entry {
	e := entry{Name: title(name), URL: p.URL + vs.path(), Wanted: p.Wanted}
	if len(vs.Hosts) > 0 && !strings.HasPrefix(vs.Hosts[0], "*") {
		e.Host = vs.Hosts[0]
	}
	return e
}

// path is the first below the root that the virtual service names, else the root.
func (vs virtualService) path() string {
	for _, kind := range []string{"exact", "prefix"} {
		for _, h := range vs.HTTP {
			for _, m := range h.Match {
				if p := m.URI[kind]; len(p) > 1 {
					return p
				}
			}
		}
	}
	return "/"
}

func title(s string) string {
	for i, r := range s {
		return string(unicode.ToUpper(r)) + s[i+len(string(r)):]
	}
	return s
}

// canaryFile is a file beside the manifests that shifts traffic, if there is one.
func canaryFile(folder string) string {
	path := filepath.Join(folder, "networking", "reviews-90-10.yaml")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return path
}
