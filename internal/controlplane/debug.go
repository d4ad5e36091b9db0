package controlplane

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Debug serves what the control plane holds, as JSON, under Istio's paths. It
// shows the whole mesh (never keys of certificates): mount it behind
// authentication, or on loopback.
//
//	/debug/syncz                   connected proxies, and what each has acknowledged
//	/debug/registryz               services
//	/debug/endpointz               endpoints by service (endpointShardz is the same)
//	/debug/configz                 objects in force
//	/debug/mesh                    the mesh config in force
//	/debug/config_dump?proxyID=    what a proxy is sent, in the form of Envoy's dump
//	/debug/connections             who is connected
//	/debug/adsz                    who is connected, and what of each type it has
//	/debug/edsz?proxyID=           the endpoints that a proxy is sent
//	/debug/instancesz              workloads
//	/debug/authorizationz          authorization policies
//	/debug/networkz                networks, and the gateways by which they are reached
//	/debug/clusterz                clusters of the mesh, and whether they are followed
//	/debug/list                    the pages there are
//
// and pages that Istio does not have:
//
//	/debug/diagnosticz             findings
//	/debug/originz?proxyID=        resources of one proxy, with what each comes from
//	/debug/collectionz?name=       collections with their dependencies
func (cp *ControlPlane) Debug() http.Handler {
	mux := http.NewServeMux()
	var pages []string
	get := func(path string, show func(r *http.Request) (any, error)) {
		pages = append(pages, path)
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
	get("/debug/syncz", func(*http.Request) (any, error) { return cp.syncStatuses(), nil })
	get("/debug/registryz", func(*http.Request) (any, error) { return shown(cp.mesh.Services.List()), nil })
	endpoints := func(*http.Request) (any, error) { return shown(cp.mesh.Endpoints.List()), nil }
	get("/debug/endpointz", endpoints)
	get("/debug/endpointShardz", endpoints)
	get("/debug/configz", func(*http.Request) (any, error) { return configDump(cp.Objects()), nil })
	get("/debug/diagnosticz", func(*http.Request) (any, error) { return append([]diag.Diagnostic{}, cp.Diagnostics()...), nil })
	get("/debug/mesh", func(*http.Request) (any, error) { return cp.meshConfig() })
	get("/debug/clusterz", func(*http.Request) (any, error) { return cp.clusterStatuses(), nil })
	get("/debug/adsz", func(*http.Request) (any, error) { return cp.watchers(), nil })
	get("/debug/edsz", func(r *http.Request) (any, error) { return cp.endpointsOf(r.URL.Query().Get("proxyID")) })
	get("/debug/instancesz", func(*http.Request) (any, error) { return shown(cp.mesh.Workloads.List()), nil })
	get("/debug/authorizationz", func(*http.Request) (any, error) { return shown(cp.mesh.Authz.List()), nil })
	get("/debug/networkz", func(*http.Request) (any, error) { return shown(cp.mesh.Networks.List()), nil })
	get("/debug/connections", func(*http.Request) (any, error) { return cp.connections(), nil })
	get("/debug/config_dump", func(r *http.Request) (any, error) {
		d, err := cp.ConfigDump(r.URL.Query().Get("proxyID"))
		if err != nil {
			return nil, err
		}
		b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(d) // as Envoy writes it
		return json.RawMessage(b), err
	})
	get("/debug/originz", func(r *http.Request) (any, error) { return cp.ProxyDump(r.URL.Query().Get("proxyID")) })
	get("/debug/collectionz", func(r *http.Request) (any, error) { return cp.collections(r.URL.Query()["name"]), nil })
	get("/debug/list", func(*http.Request) (any, error) { return pages, nil })
	mux.HandleFunc("GET /debug/{page...}", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("there is no page %s; there are %s", r.PathValue("page"), strings.ReplaceAll(strings.Join(pages, ", "), "/debug/", "")), http.StatusNotFound)
	})
	mux.HandleFunc("GET /debug/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, "<!doctype html><title>control plane</title><h1>Control plane</h1><ul>")
		for _, p := range pages {
			_, _ = fmt.Fprintf(w, `<li><a href=%q>%s</a></li>`, p, p)
		}
		_, _ = fmt.Fprint(w, "</ul>")
	})
	return mux
}

// meshConfig is the mesh config in force, as JSON.
func (cp *ControlPlane) meshConfig() (any, error) {
	cfg, ok := cp.mesh.Config.Get("mesh")
	if !ok {
		return nil, fmt.Errorf("no mesh config has been read yet")
	}
	b, err := protojson.Marshal(cfg.MeshConfig)
	return json.RawMessage(b), err
}

// client is a connected proxy in Istio's short form.
type client struct {
	ID        string    `json:"connectionId"`
	Connected time.Time `json:"connectedAt"`
	Address   string    `json:"address"`
}

// watcher is one with the resources that it watches.
type watcher struct {
	client
	Watches map[string][]string `json:"watches"` // the names asked for, by type; none are all
}

// clients are the connected proxies, each as show has it.
func clients[T any](cp *ControlPlane, show func(client, xdsserve.Session) T) any {
	out := struct {
		Total   int `json:"totalClients"`
		Clients []T `json:"clients"`
	}{Clients: []T{}}
	for _, s := range cp.server.Ledger().Sessions() {
		out.Clients = append(out.Clients, show(client{fmt.Sprintf("%s-%d", mesh.ProxyName(s.Node), s.ID), s.Connected, s.Peer}, s))
	}
	out.Total = len(out.Clients)
	return out
}

// connections are the connected proxies.
func (cp *ControlPlane) connections() any {
	return clients(cp, func(c client, _ xdsserve.Session) client { return c })
}

// watchers are the connected proxies and what they watch, in the form of Istio's
// /debug/adsz.
func (cp *ControlPlane) watchers() any {
	return clients(cp, func(c client, s xdsserve.Session) watcher {
		w := watcher{c, map[string][]string{}}
		for _, t := range s.Types {
			names := []string{}
			if set, err := cp.Resources(mesh.ProxyName(s.Node), t.TypeURL); err == nil && !t.Wildcard {
				for r := range set.All() {
					names = append(names, r.Name())
				}
				slices.Sort(names)
			}
			w.Watches[t.TypeURL] = names
		}
		return w
	})
}

// shown is a list as JSON has it: empty, and not null.
func shown[T any](list []T) []T { return append([]T{}, list...) }

// endpointsOf are the endpoints that a proxy is sent, in Envoy's JSON.
func (cp *ControlPlane) endpointsOf(id string) (any, error) {
	set, err := cp.Resources(id, xdsserve.TypeEndpoint)
	if err != nil {
		return nil, err
	}
	byName := map[string]json.RawMessage{}
	for r := range set.All() {
		b, err := protojson.Marshal(&anypb.Any{TypeUrl: xdsserve.TypeEndpoint, Value: r.Body()})
		if err != nil {
			return nil, fmt.Errorf("show the endpoints of %s: %w", r.Name(), err)
		}
		byName[r.Name()] = b
	}
	out := []json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out, nil
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
