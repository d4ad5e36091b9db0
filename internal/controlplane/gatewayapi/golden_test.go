package gatewayapi_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// TestGolden derives the objects of each case and compares listeners, routing and
// statuses with want. MESH_UPDATE=1 rewrites the files.
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
			var want *txtar.File
			m := newWorld(t)
			for i, part := range a.Files {
				if part.Name == "want" {
					want = &a.Files[i]
					continue
				}
				m.apply(t, part.Name, part.Data)
			}
			got := []byte(m.print())
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
				t.Errorf("derived:\n%s\nwant:\n%s", got, want.Data)
			}
		})
	}
}

// world is a derived mesh with its inputs.
type world struct {
	g  *collection.Graph
	in *derive.Inputs
	*derive.Mesh
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{g: collection.NewGraph(collection.Options{})}
	w.in = derive.NewInputs(w.g)
	w.Mesh = derive.New(w.g, derive.Settings{ClusterDomain: "cluster.local", Cluster: "c1"}, w.in)
	w.in.Config.Set(&mesh.MeshConfig{MeshConfig: resource.DefaultMeshConfig(), ClusterDomain: "cluster.local", TrustDomains: []string{"cluster.local"}})
	return w
}

func (w *world) apply(t testing.TB, file string, data []byte) {
	t.Helper()
	objects, ds := resource.Decode(file, data, resource.Options{})
	for _, d := range ds {
		t.Fatalf("%v", d)
	}
	for _, o := range objects {
		w.in.Of(o.Key.Kind).Set(o)
	}
	if err := w.g.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// print shows what is made of the Gateway API, one line per thing.
func (w *world) print() string {
	var b strings.Builder
	for _, g := range w.Gateways.List() {
		for _, s := range g.Spec.Servers {
			fmt.Fprintf(&b, "listener %s %s %d %v in %s on %v", mesh.GatewayName(g), s.Port.Protocol, s.Port.Number, s.Hosts, g.Listener.Namespace, g.Spec.Selector)
			if s.Tls != nil {
				fmt.Fprintf(&b, " %s %v %s", s.Tls.Mode, append(s.Tls.CredentialNames, s.Tls.CredentialName), s.Tls.CaCertCredentialName)
			}
			if g.Listener.Unverified {
				b.WriteString(" unverified")
			}
			if g.Listener.ClientCertificate != "" {
				fmt.Fprintf(&b, " shows %s", g.Listener.ClientCertificate)
			}
			if len(g.Listener.Elsewhere) > 0 {
				fmt.Fprintf(&b, " elsewhere=%v", g.Listener.Elsewhere)
			}
			fmt.Fprintf(&b, " (%s)\n", g.At(g.Listener.Field))
		}
	}
	for _, v := range w.VirtualServices.List() {
		fmt.Fprintf(&b, "routes %s for %v at %v", v.CollectionKey(), v.Hosts, v.Gateways)
		if !v.ExportTo.All {
			fmt.Fprintf(&b, " to %v", v.ExportTo.Namespaces)
		}
		b.WriteByte('\n')
		for i, h := range v.Spec.Http {
			d := v.HTTPDetails[i]
			fmt.Fprintf(&b, "  %s -> %s%s\n", where(d), match(h, d), does(h, d))
		}
		for i, r := range v.Spec.Tls {
			fmt.Fprintf(&b, "  %s -> %s %s\n", where(v.TLSDetails[i]), plain(r.Match[0]), targets(r.Route, v.TLSDetails[i]))
		}
		for i, r := range v.Spec.Tcp {
			m := ""
			if len(r.Match) > 0 {
				m = plain(r.Match[0])
			}
			fmt.Fprintf(&b, "  %s -> [%s] %s\n", where(v.TCPDetails[i]), m, targets(r.Route, v.TCPDetails[i]))
		}
	}
	for _, s := range w.Services.List() {
		for _, p := range slices.Sorted(maps.Keys(s.BackendTLS)) {
			t := s.BackendTLS[p]
			fmt.Fprintf(&b, "tls %s:%d sni=%s names=%v ca=%d bytes refused=%v\n", s.Host, p, t.TLS.Sni, t.TLS.SubjectAltNames, len(t.TLS.CaCertificates), t.Refused)
		}
	}
	for _, s := range w.GatewayStatuses.List() {
		fmt.Fprintf(&b, "status %s %s/%s", s.Key.Kind.Kind, s.Key.Namespace, s.Key.Name)
		switch {
		case s.Class != nil:
			fmt.Fprintf(&b, "%s features=%d\n", conditions(s.Class.Conditions), len(s.Class.SupportedFeatures))
		case s.Gateway != nil:
			fmt.Fprintf(&b, "%s", conditions(s.Gateway.Conditions))
			for _, a := range s.Gateway.Addresses {
				fmt.Fprintf(&b, " %s=%s", *a.Type, a.Value)
			}
			b.WriteByte('\n')
			for _, l := range s.Gateway.Listeners {
				fmt.Fprintf(&b, "  %s attached=%d", l.Name, l.AttachedRoutes)
				for _, k := range l.SupportedKinds {
					fmt.Fprintf(&b, " %s", k.Kind)
				}
				fmt.Fprintf(&b, "%s\n", conditions(l.Conditions))
			}
		case s.ListenerSet != nil:
			fmt.Fprintf(&b, "%s\n", conditions(s.ListenerSet.Conditions))
			for _, l := range s.ListenerSet.Listeners {
				fmt.Fprintf(&b, "  %s attached=%d%s\n", l.Name, l.AttachedRoutes, conditions(l.Conditions))
			}
		case s.Route != nil:
			b.WriteByte('\n')
			for _, p := range s.Route.Parents {
				fmt.Fprintf(&b, "  %s%s\n", p.ParentRef.Name, conditions(p.Conditions))
			}
		case s.Ingress != nil:
			fmt.Fprintf(&b, " %v\n", s.Ingress.LoadBalancer.Ingress)
		case s.Policy != nil:
			b.WriteByte('\n')
			for _, p := range s.Policy.Ancestors {
				fmt.Fprintf(&b, "  %s%s\n", p.AncestorRef.Name, conditions(p.Conditions))
			}
		}
	}
	for _, f := range w.Findings.List() {
		fmt.Fprintf(&b, "%s %s %s: %s (%s)\n", f.Code, f.Pos, f.Field, f.Message, f.Effect)
	}
	return b.String()
}

// plain prints a message the same in every program: the spaces are drawn by chance.
func plain(m fmt.Stringer) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(m.String(), ": ", ":")), " ")
}

func where(d mesh.RouteDetail) string {
	return fmt.Sprintf("%s %s/%s %s", d.Origin.Kind, d.Origin.Namespace, d.Origin.Name, d.Field)
}

func match(h *networking.HTTPRoute, d mesh.RouteDetail) string {
	if len(h.Match) == 0 {
		return ""
	}
	m := h.Match[0]
	var out []string
	text := func(name string, s *networking.StringMatch) {
		if s != nil {
			out = append(out, name+"="+plain(s))
		}
	}
	if d.PathPrefix != "" {
		out = append(out, "below="+d.PathPrefix)
	} else {
		text("path", m.Uri)
	}
	text("method", m.Method)
	for _, k := range slices.Sorted(maps.Keys(m.Headers)) {
		text("header "+k, m.Headers[k])
	}
	for _, k := range slices.Sorted(maps.Keys(m.QueryParams)) {
		text("query "+k, m.QueryParams[k])
	}
	if m.Port != 0 {
		out = append(out, fmt.Sprintf("port=%d", m.Port))
	}
	return "[" + strings.Join(out, " ") + "]"
}

func does(h *networking.HTTPRoute, d mesh.RouteDetail) string {
	var out []string
	add := func(name string, v fmt.Stringer) {
		out = append(out, name+"{"+plain(v)+"}")
	}
	for _, r := range h.Route {
		t := fmt.Sprintf("%s:%d*%d", r.Destination.Host, r.Destination.Port.GetNumber(), r.Weight)
		if r.Headers != nil {
			t += "+headers"
		}
		out = append(out, t)
	}
	if d.Unresolved > 0 {
		out = append(out, fmt.Sprintf("500*%d", d.Unresolved))
	}
	if h.DirectResponse != nil {
		out = append(out, strconv.FormatUint(uint64(h.DirectResponse.Status), 10))
	}
	if h.Redirect != nil {
		add("redirect", h.Redirect)
	}
	if h.Rewrite != nil {
		add("rewrite", h.Rewrite)
	}
	if h.Headers != nil {
		add("headers", h.Headers)
	}
	for _, m := range h.Mirrors {
		add("mirror", m)
	}
	if h.Timeout != nil {
		out = append(out, "timeout="+h.Timeout.AsDuration().String())
	}
	if h.Retries != nil {
		add("retries", h.Retries)
	}
	if h.CorsPolicy != nil {
		add("cors", h.CorsPolicy)
	}
	return " " + strings.Join(out, " ")
}

func targets(rs []*networking.RouteDestination, d mesh.RouteDetail) string {
	var out []string
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%s:%d*%d", r.Destination.Host, r.Destination.Port.GetNumber(), r.Weight))
	}
	if d.Unresolved > 0 {
		out = append(out, fmt.Sprintf("closed*%d", d.Unresolved))
	}
	return strings.Join(out, " ")
}

func conditions(cs []metav1.Condition) string {
	var b strings.Builder
	for _, c := range cs {
		fmt.Fprintf(&b, " %s=%s/%s", c.Type, c.Status, c.Reason)
	}
	return b.String()
}

// TestAddressThatIsNotGiven: a Gateway that asks for an IP address is programmed when
// the load balancer gives that one, not when it gives another.
func TestAddressThatIsNotGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(t, "in.yaml", []byte(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: edge}
spec:
  gatewayClassName: istio
  addresses: [{type: IPAddress, value: 192.0.2.1}]
  listeners: [{name: http, port: 80, protocol: HTTP}]
`))
	for given, want := range map[string]string{"192.0.2.1": "True/Programmed", "192.0.2.7": "False/AddressNotUsable"} {
		w.in.Deployed.Set(&gatewayapi.Deployed{
			Namespace: "edge", Name: "front", Ready: true,
			Addresses: []gwv1.GatewayStatusAddress{{Type: new(gwv1.IPAddressType), Value: given}},
		})
		if err := w.g.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.print(); !strings.Contains(got, "Accepted=True/Accepted Programmed="+want) {
			t.Errorf("with address %s:\n%s\nwant Programmed=%s", given, got, want)
		}
	}
}
