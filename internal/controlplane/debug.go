package controlplane

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Debug serves what the control plane holds, as JSON, under Istio's paths. It
// shows the whole mesh (never keys of certificates): mount it behind
// authentication, or on loopback.
//
//	/debug/syncz                   sessions, and what each has acknowledged
//	/debug/registryz               services
//	/debug/endpointz               endpoints by service
//	/debug/configz                 objects in force
//	/debug/diagnosticz             findings
//	/debug/config_dump?proxyID=    resources of one proxy, by type
//	/debug/collectionz?name=       collections with their dependencies
func (cp *ControlPlane) Debug() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, show func(r *http.Request) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := show(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			if err := e.Encode(v); err != nil {
				cp.log.DebugContext(r.Context(), "write a debug page", "path", path, "err", err)
			}
		})
	}
	get("/debug/syncz", func(*http.Request) (any, error) { return cp.server.Ledger().Sessions(), nil })
	get("/debug/registryz", func(*http.Request) (any, error) { return cp.mesh.Services.List(), nil })
	get("/debug/endpointz", func(*http.Request) (any, error) { return cp.mesh.Endpoints.List(), nil })
	get("/debug/configz", func(*http.Request) (any, error) { return configDump(cp.Objects()), nil })
	get("/debug/diagnosticz", func(*http.Request) (any, error) { return append([]diag.Diagnostic{}, cp.Diagnostics()...), nil })
	get("/debug/config_dump", func(r *http.Request) (any, error) { return cp.ProxyDump(r.URL.Query().Get("proxyID")) })
	get("/debug/collectionz", func(r *http.Request) (any, error) { return cp.collections(r.URL.Query()["name"]), nil })
	return mux
}

// collections dumps the graph; of nodes that hold key material the keys only.
func (cp *ControlPlane) collections(names []string) collection.GraphDump {
	d := cp.graph.Dump(names...)
	for i := range d.Nodes {
		if n := d.Nodes[i].Name; n == resource.KindSecret.String() || n == "certificates" || strings.Contains(n, "bundles") {
			for j := range d.Nodes[i].Entries {
				d.Nodes[i].Entries[j].Value = ""
			}
		}
	}
	return d
}

// configDump prints objects as the user wrote them; Secrets by name only.
func configDump(objects []*resource.Object) []json.RawMessage {
	out := []json.RawMessage{}
	for _, o := range objects {
		if o.Key.Kind == resource.KindSecret || len(o.Raw) == 0 {
			b, err := json.Marshal(map[string]any{"kind": o.Key.Kind.Kind, "metadata": map[string]string{"namespace": o.Key.Namespace, "name": o.Key.Name}})
			if err == nil {
				out = append(out, b)
			}
			continue
		}
		out = append(out, o.Raw)
	}
	return out
}

// ResourceDump is one resource of a proxy.
type ResourceDump struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Bytes   int      `json:"bytes"`
	Objects []string `json:"objects,omitempty"` // what it comes from
}

// ProxyDump lists the resources of a connected proxy by type, with the objects
// that each comes from. id is <pod>.<namespace>.
func (cp *ControlPlane) ProxyDump(id string) (map[string][]ResourceDump, error) {
	w, ok := cp.view.Find(id)
	if !ok || w.Current() == nil {
		return nil, fmt.Errorf("proxy %q is not connected", id)
	}
	out := map[string][]ResourceDump{}
	blame := cp.view.Blame()
	for t, set := range w.Current().Sets {
		short := t[strings.LastIndexByte(t, '.')+1:]
		for r := range set.All() {
			d := ResourceDump{Name: r.Name(), Version: r.Version(), Bytes: r.Size()}
			for _, o := range blame(t, r.Name(), r.Version()) {
				d.Objects = append(d.Objects, o.Key())
			}
			out[short] = append(out[short], d)
		}
	}
	return out, nil
}

// Resources returns what a connected proxy is sent of one type.
func (cp *ControlPlane) Resources(id, typeURL string) (*xdsserve.Set, error) {
	w, ok := cp.view.Find(id)
	if !ok || w.Current() == nil {
		return nil, fmt.Errorf("proxy %q is not connected", id)
	}
	return w.Current().Set(typeURL), nil
}
