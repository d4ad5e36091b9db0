package view_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/controlplane/view"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// world is a graph from objects to snapshots.
type world struct {
	g  *collection.Graph
	in *derive.Inputs
	v  *view.View
}

func newWorld() *world {
	w := &world{g: collection.NewGraph(collection.Options{Parallelism: 2})}
	w.in = derive.NewInputs(w.g)
	m := derive.New(w.g, derive.Settings{ClusterDomain: "cluster.local", Cluster: "c1"}, w.in)
	w.v = view.New(w.g, m, time.Now)
	w.in.Config.Set(&mesh.MeshConfig{MeshConfig: resource.DefaultMeshConfig(), ClusterDomain: "cluster.local", TrustDomains: []string{"cluster.local"}})
	return w
}

func (w *world) flush(t testing.TB) {
	if err := w.g.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// proxies is one of each kind, in places where objects differ for them.
var proxies = []mesh.Proxy{
	{Type: mesh.Sidecar, ID: "a.one", Name: "a", Namespace: "one", DNSDomain: "one.svc.cluster.local", Dialect: mesh.DialectNative, Labels: map[string]string{"app": "x"}},
	{Type: mesh.Sidecar, ID: "b.two", Name: "b", Namespace: "two", DNSDomain: "two.svc.cluster.local", Dialect: mesh.DialectNative, Labels: map[string]string{"app": "y"}},
	{Type: mesh.Sidecar, ID: "c.one", Name: "c", Namespace: "one", DNSDomain: "one.svc.cluster.local", Dialect: mesh.DialectEnvoy, Labels: map[string]string{"app": "y"}},
	{Type: mesh.Sidecar, Cluster: "c2", ID: "a.one", Name: "a", Namespace: "one", DNSDomain: "one.svc.cluster.local", Dialect: mesh.DialectNative, Labels: map[string]string{"app": "x"}},
	{Type: mesh.Sidecar, Cluster: "c2", ID: "x.two", Name: "x", Namespace: "two", DNSDomain: "two.svc.cluster.local", Dialect: mesh.DialectEnvoy, Labels: map[string]string{"app": "x"}},
	{Type: mesh.Router, ID: "g.one", Name: "g", Namespace: "one", DNSDomain: "one.svc.cluster.local", Dialect: mesh.DialectNative, Labels: map[string]string{"istio": "gw"}},
	{Type: mesh.Router, ID: "h.one", Name: "h", Namespace: "one", DNSDomain: "one.svc.cluster.local", Dialect: mesh.DialectEnvoy, Labels: map[string]string{"app": "x", "gateway.networking.k8s.io/gateway-name": "auto"}},
}

// join adds the proxies; the state is what each of them gets.
func (w *world) join() []*view.Watch {
	var out []*view.Watch
	for i := range proxies {
		out = append(out, w.v.Join(&proxies[i]))
	}
	return out
}

func state(watches []*view.Watch) string {
	var b strings.Builder
	for _, x := range watches {
		snap := x.Current()
		if snap == nil {
			fmt.Fprintf(&b, "%s: nothing\n", x.Proxy.ID)
			continue
		}
		for _, t := range slices.Sorted(maps.Keys(snap.Sets)) {
			for r := range snap.Sets[t].All() {
				fmt.Fprintf(&b, "%s %s %s %s\n", x.Proxy.ID+x.Proxy.Cluster, t[strings.LastIndexByte(t, '.')+1:], r.Name(), r.Version())
			}
		}
	}
	return b.String()
}

// draws are templates of objects: few names and hosts, so that they meet.
var templates = []string{
	"apiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: NSP}\nspec: {clusterIP: 10.96.0.NUM, selector: {app: APP}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}, {name: auto, port: 7000}]}",
	"apiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: NSP, annotations: {networking.istio.io/exportTo: .}}\nspec: {clusterIP: None, selector: {app: APP}, ports: [{name: tcp, port: 90NUM}]}",
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: NAME-s, namespace: NSP, labels: {kubernetes.io/service-name: NAME}}\naddressType: IPv4\nports: [{name: http, port: 8080}, {name: tcp, port: 9000}]\nendpoints: [{addresses: [10.1.0.NUM], targetRef: {kind: Pod, name: APP, namespace: NSP}}]",
	"apiVersion: v1\nkind: Pod\nmetadata: {name: APP, namespace: NSP, labels: {app: APP, version: vNUM, security.istio.io/tlsMode: istio}}\nspec: {containers: [{name: c, image: i}]}\nstatus: {phase: Running, podIPs: [{ip: 10.1.0.NUM}]}",
	"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: NAME, namespace: NSP}\nspec: {hosts: [NAME.ext.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]}",
	"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: NAME-APP, namespace: NSP}\nspec: {hosts: [NAME], http: [{timeout: NUMs, route: [{destination: {host: OTHER, subset: v1}}]}]}",
	"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: NAME-l, namespace: NSP}\nspec: {hosts: [NAME], http: [{match: [{sourceLabels: {app: x}}], route: [{destination: {host: OTHER}}]}, {route: [{destination: {host: NAME}}]}], tcp: [{match: [{port: 9000}], route: [{destination: {host: OTHER, port: {number: 9000}}}]}]}",
	"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: gw-NAME, namespace: NSP}\nspec: {hosts: [h-NUM.com], gateways: [one/gw], http: [{route: [{destination: {host: NAME, port: {number: 80}}}]}]}",
	"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: NAME-APP, namespace: NSP}\nspec: {host: OTHER, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1NUM}}}, subsets: [{name: v1, labels: {version: v1}}]}",
	"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: moves, namespace: one}\nspec: {hosts: [NAME], http: [{timeout: NUMs, route: [{destination: {host: p.ext.com}}]}]}",
	"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: moves, namespace: one}\nspec: {host: NAME, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1NUM}}}}",
	"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: NSP}\nspec: {selector: {istio: gw}, servers: [{port: {number: 80NUM, name: http, protocol: HTTP}, hosts: ['*']}]}",
	"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: NSP}\nspec: {egress: [{hosts: ['./*', 'istio-system/*']}]}",
	"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: NAME, namespace: NSP}\nspec: {selector: {matchLabels: {app: APP}}, mtls: {mode: STRICT}}",
	"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ns-NAME, namespace: NSP}\nspec: {mtls: {mode: DISABLE}}",
	"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: NAME, namespace: NSP}\nspec: {selector: {matchLabels: {app: APP}}, action: DENY, rules: [{to: [{operation: {ports: ['80NUM']}}]}]}",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: NAME, namespace: NSP}\nspec: {gatewayClassName: istio, addresses: [{type: Hostname, value: OTHER.one}], listeners: [{name: a, port: 80, protocol: HTTP, hostname: h-NUM.com, allowedRoutes: {namespaces: {from: All}}}, {name: b, port: 9000, protocol: TCP}]}",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: auto, namespace: one}\nspec: {gatewayClassName: istio, listeners: [{name: a, port: 80NUM, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {x: APP}}}}}]}",
	"apiVersion: v1\nkind: Namespace\nmetadata: {name: NSP, labels: {x: APP, topology.istio.io/network: nNUM}}",
	"apiVersion: v1\nkind: Service\nmetadata: {name: eastwest-NUM, namespace: istio-system, labels: {topology.istio.io/network: nNUM}}\nspec: {clusterIP: 10.96.1.NUM, ports: [{name: tls, port: 15443}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.NUM}]}}",
	"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: eastwest, namespace: istio-system}\nspec: {selector: {istio: gw}, servers: [{port: {number: 15443, name: tls, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}]}",
	"apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {topology.kubernetes.io/region: APP}}",
	"apiVersion: v1\nkind: Pod\nmetadata: {name: APP, namespace: NSP, labels: {app: APP}}\nspec: {nodeName: n, containers: [{name: c, image: i}]}\nstatus: {phase: Running, podIPs: [{ip: 10.1.0.NUM}]}",
	"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: clusters-NAME, namespace: NSP}\nspec: {host: NAME, trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [topology.istio.io/cluster]}}}, subsets: [{name: v1, labels: {topology.istio.io/cluster: c2}}]}",
	"apiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: kube-system}\nspec: {clusterIP: 10.96.0.NUM, selector: {app: APP}, ports: [{name: http, port: 80, targetPort: 8080}]}",
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: NAME-s, namespace: kube-system, labels: {kubernetes.io/service-name: NAME}}\naddressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.1.0.NUM]}]",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: NAME-APP, namespace: NSP}\nspec: {hostnames: [h-NUM.com], parentRefs: [{name: NAME, namespace: one}, {name: auto, namespace: one}], rules: [{backendRefs: [{name: OTHER, port: 80}, {name: p, namespace: two, port: 80}]}, {matches: [{path: {value: /APP}}], backendRefs: [{name: NAME, port: 80}]}]}",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: callers-APP, namespace: NSP}\nspec: {parentRefs: [{group: '', kind: Service, name: NAME, namespace: one}], rules: [{backendRefs: [{name: OTHER, port: 80, weight: NUM}, {name: q, namespace: one, port: 80}]}]}",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: NAME, namespace: NSP}\nspec: {parentRefs: [{name: NAME}, {group: '', kind: Service, name: OTHER, port: 9000}], rules: [{backendRefs: [{name: q, namespace: one, port: 9000}]}]}",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: NSP}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: one}], to: [{group: '', kind: Service, name: NAME}]}",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: h, namespace: one}\nspec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: NSP}], to: [{group: '', kind: Service}]}",
	"apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: NAME, namespace: NSP}\nspec: {targetRefs: [{group: '', kind: Service, name: p}], validation: {hostname: h-NUM.com, wellKnownCACertificates: System}}",
	"apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: NAME, namespace: NSP}\nspec: {accessLogging: [{providers: [{name: envoy}]}]}",
}

func drawObject(t *rapid.T) *resource.Object {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	text := strings.NewReplacer(
		"NAME", pick("name", "p", "q"), "NSP", pick("ns", "one", "two", "istio-system"), "APP", pick("app", "x", "y"),
		"OTHER", pick("other", "p", "q", "p.ext.com"), "NUM", pick("num", "11", "12"),
	).Replace(rapid.SampledFrom(templates).Draw(t, "template"))
	remote := rapid.IntRange(0, 2).Draw(t, "cluster") == 0
	objects, ds := resource.Decode("x.yaml", []byte(text), resource.Options{})
	if len(objects) != 1 {
		t.Fatalf("%s: %v", text, ds)
	}
	switch objects[0].Key.Kind {
	case resource.KindService, resource.KindEndpointSlice, resource.KindPod, resource.KindNamespace, resource.KindNode:
		if remote {
			objects[0].Key.Cluster = "c2"
		}
	default:
	}
	return objects[0]
}

// base is a service of namespace one with an endpoint.
func base(name string) []*resource.Object {
	text := strings.NewReplacer("NAME", name, "NSP", "one", "APP", "x", "NUM", "11").Replace(templates[0] + "\n---\n" + templates[2])
	objects, _ := resource.Decode("base.yaml", []byte(text), resource.Options{})
	return objects
}

// Whatever was done before, proxies get what they would get from a control plane
// that has seen the last state only: same names, same bytes.
func TestIncrementalEqualsFromScratch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		watches := w.join()
		w.flush(t)
		held := map[resource.Key]*resource.Object{}
		steps := rapid.IntRange(1, 12).Draw(rt, "steps")
		for _, name := range []string{"p", "q"} { // hosts for the others to be about
			for _, o := range base(name) {
				held[o.Key] = o
				w.in.Of(o.Key.Kind).Set(o)
			}
		}
		for range steps {
			for range rapid.IntRange(1, 4).Draw(rt, "batch") {
				if len(held) > 0 && rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
					keys := slices.SortedFunc(maps.Keys(held), func(a, b resource.Key) int { return strings.Compare(a.String(), b.String()) })
					k := rapid.SampledFrom(keys).Draw(rt, "key")
					delete(held, k)
					w.in.Of(k.Kind).Delete(k.String())
					continue
				}
				o := drawObject(rt)
				held[o.Key] = o
				w.in.Of(o.Key.Kind).Set(o)
			}
			w.flush(t)
		}
		fresh := newWorld()
		for _, o := range held {
			fresh.in.Of(o.Key.Kind).Set(o)
		}
		others := fresh.join()
		fresh.flush(t)
		got, want := state(watches), state(others)
		if got != want {
			rt.Fatalf("after %d steps:\n%s", steps, difference(got, want))
		}
	})
}

func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var b strings.Builder
	for _, l := range g {
		if !slices.Contains(w, l) {
			fmt.Fprintf(&b, "only incremental: %s\n", l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			fmt.Fprintf(&b, "only from scratch: %s\n", l)
		}
	}
	return b.String()
}
