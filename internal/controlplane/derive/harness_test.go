package derive_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// world is a derived mesh with its inputs.
type world struct {
	g  *collection.Graph
	in *derive.Inputs
	m  *derive.Mesh
}

func newWorld() *world {
	w := &world{g: collection.NewGraph(collection.Options{})}
	w.in = derive.NewInputs(w.g)
	w.m = derive.New(w.g, derive.Settings{ClusterDomain: "cluster.local", Cluster: "c1"}, w.in)
	cfg := resource.DefaultMeshConfig()
	w.in.Config.Set(&mesh.MeshConfig{MeshConfig: cfg, ClusterDomain: "cluster.local", TrustDomains: []string{"cluster.local"}})
	return w
}

func (w *world) apply(t testing.TB, objects ...*resource.Object) {
	t.Helper()
	for _, o := range objects {
		in := w.in.Of(o.Key.Kind)
		if in == nil {
			t.Fatalf("derivation does not read %s", o.Key)
		}
		in.Set(o)
	}
	if err := w.g.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func decode(t testing.TB, file string, data []byte) []*resource.Object {
	t.Helper()
	objects, ds := resource.Decode(file, data, resource.Options{})
	for _, d := range ds {
		t.Fatalf("%v", d)
	}
	return objects
}

// print shows the derived mesh, one line per thing.
func (w *world) print() string {
	var b strings.Builder
	for _, s := range w.m.Services.List() {
		fmt.Fprintf(&b, "service %s/%s %s vips=%v", s.Namespace, s.Host, s.Resolution, s.VIPs())
		if s.External {
			b.WriteString(" external")
		}
		if s.Headless {
			b.WriteString(" headless")
		}
		for _, c := range slices.Sorted(maps.Keys(s.ClusterAddresses)) {
			fmt.Fprintf(&b, " %s=%v", c, s.In(c).VIPs())
		}
		if s.ClusterLocal {
			b.WriteString(" cluster-local")
		}
		if s.Partial {
			fmt.Fprintf(&b, " else=%v", s.In("").VIPs())
		}
		if !s.ExportTo.All {
			fmt.Fprintf(&b, " exportTo=%v", s.ExportTo.Namespaces)
		}
		for _, p := range s.Ports {
			fmt.Fprintf(&b, " %d/%s", p.Number, p.Protocol)
		}
		b.WriteByte('\n')
		if set, ok := w.m.Endpoints.Get(s.CollectionKey()); ok {
			for _, e := range set.Endpoints {
				fmt.Fprintf(&b, "  %d -> %s:%d %s %s %s tls=%s at=%s", e.ServicePort, e.Address, e.Port, orDash(e.Workload), orDash(e.ServiceAccount), e.Health, e.TLSMode, orDash(e.Locality.String()))
				if len(e.Additional) > 0 {
					fmt.Fprintf(&b, " also=%v", e.Additional)
				}
				if s.ClusterAddresses != nil {
					fmt.Fprintf(&b, " in=%s/%s", e.Cluster, orDash(e.Network))
				}
				b.WriteByte('\n')
			}
		}
	}
	for _, v := range w.m.VirtualServices.List() {
		fmt.Fprintf(&b, "virtualservice %s/%s hosts=%v gateways=%v http=%d\n", v.Origin.Namespace, v.Origin.Name, v.Hosts, v.Gateways, len(v.Spec.Http))
	}
	for _, d := range w.m.DestinationRules.List() {
		fmt.Fprintf(&b, "destinationrule %s/%s host=%s subsets=%d\n", d.Origin.Namespace, d.Origin.Name, d.Host, len(d.Spec.Subsets))
	}
	for _, p := range w.m.Authz.List() {
		fmt.Fprintf(&b, "authz %s %s/%s %s rules=%d\n", p.Origin.Kind, p.Origin.Namespace, p.Origin.Name, p.Spec.Action, len(p.Spec.Rules))
	}
	for _, c := range w.m.Certificates.List() {
		fmt.Fprintf(&b, "%s chain=%v key=%v ca=%v\n", c, len(c.Chain) > 0, len(c.Key) > 0, len(c.CA) > 0)
	}
	for _, n := range w.m.Names.List() {
		fmt.Fprintf(&b, "name %s %v %s\n", derive.NameKey(n.Host, n.Variant), n.Info.IPs, n.Info.Registry)
	}
	for _, f := range w.m.Findings.List() {
		fmt.Fprintf(&b, "%s %s %s %s: %s (%s)\n", f.Code, f.Severity, f.Pos, f.Field, f.Message, f.Effect)
	}
	return b.String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// TestGolden derives in.yaml of each case and compares the mesh with want.
// MESH_UPDATE=1 rewrites the files.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(f)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld()
			var want *txtar.File
			for i, part := range a.Files {
				if part.Name == "want" {
					want = &a.Files[i]
					continue
				}
				objects := decode(t, part.Name, part.Data)
				if cluster, _, ok := strings.Cut(part.Name, "/"); ok { // a folder for each remote cluster
					for _, o := range objects {
						o.Key.Cluster = cluster
					}
				}
				w.apply(t, objects...)
			}
			got := []byte(w.print())
			if want == nil {
				a.Files = append(a.Files, txtar.File{Name: "want"})
				want = &a.Files[len(a.Files)-1]
			}
			if os.Getenv("MESH_UPDATE") == "1" {
				want.Data = got
				if err := os.WriteFile(f, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want.Data) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want.Data)
			}
		})
	}
}
