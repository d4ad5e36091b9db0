package controlplane_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/resource"
)

// shop is two services with pods, and a gateway.
const shop = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIP: 10.96.0.5, selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.6, selector: {app: db}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-1, namespace: shop, labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio}}
spec: {containers: [{name: c, image: i}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: shop, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-1, namespace: shop}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: tcp, port: 5432}]
endpoints: [{addresses: [10.1.0.9]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{route: [{destination: {host: reviews}}]}]
`

func timeout(seconds int) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http: [{timeout: %ds, route: [{destination: {host: reviews}}]}]
`, seconds)
}

func has(t *testing.T, x *proxy, typeURL string, want ...string) {
	t.Helper()
	names := x.names(typeURL)
	for _, w := range want {
		if !slices.Contains(names, w) {
			t.Errorf("%s: no %q in %q", typeURL[strings.LastIndexByte(typeURL, '.')+1:], w, names)
		}
	}
}

func TestSidecar(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	x := p.connect(node("reviews-1.shop", "sidecar", true, map[string]string{"app": "reviews"}))
	const reviews, db = "outbound|80||reviews.shop.svc.cluster.local", "outbound|5432||db.shop.svc.cluster.local"
	has(t, x, xdsserve.TypeCluster, reviews, db, "PassthroughCluster", "BlackHoleCluster", "inbound|9080||")
	has(t, x, xdsserve.TypeEndpoint, reviews, db)
	has(t, x, xdsserve.TypeListener, "virtualOutbound", "virtualInbound", "0.0.0.0_80", "10.96.0.6_5432")
	has(t, x, xdsserve.TypeRoute, "80")
	has(t, x, xdsserve.TypeVirtualHost, "80/reviews.shop.svc.cluster.local:80", "80/allow_any")
	has(t, x, xdsserve.TypeNameTable, "reviews.shop.svc.cluster.local", "db.shop.svc.cluster.local")
	cla := get(x, xdsserve.TypeEndpoint, reviews, &endpointv3.ClusterLoadAssignment{})
	if a := cla.Endpoints[0].LbEndpoints[0].GetEndpoint().GetAddress().GetSocketAddress(); a.GetAddress() != "10.1.0.1" || a.GetPortValue() != 9080 {
		t.Errorf("endpoint %v", a)
	}
	if rc := get(x, xdsserve.TypeRoute, "80", &routev3.RouteConfiguration{}); len(rc.VirtualHosts) != 0 {
		t.Errorf("route configuration of a native proxy holds virtual hosts: %v", rc)
	}
}

// A sidecar that nothing is redirected to listens itself; one whose workload
// nobody calls has nothing of its own, and is served all the same.
func TestWithoutCapture(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop + "---\n" + timeout(3))
	connect := func(id, app, bound string) *proxy {
		n := node(id, "sidecar", true, map[string]string{"app": app})
		n.Metadata.Fields["INTERCEPTION_MODE"] = structpb.NewStringValue("NONE")
		n.Metadata.Fields["HTTP_PROXY_PORT"] = structpb.NewStringValue("15007")
		n.Metadata.Fields["MESHCTL_BOUND"] = structpb.NewStringValue(bound)
		return p.connect(n)
	}
	const web = "reviews.shop.svc.cluster.local:80"
	x := connect("reviews-1.shop", "reviews", "127.9.3.0/24,10.96.0.0/24")
	if got, want := x.names(xdsserve.TypeListener), []string{"127.9.3.1_15007", "127.9.3.1_29080", "127.9.3.5_20080", "127.9.3.6_25432"}; !slices.Equal(got, want) {
		t.Errorf("listeners %q, want %q", got, want)
	}
	if got, want := x.names(xdsserve.TypeRoute), []string{"http_proxy", web}; !slices.Equal(got, want) {
		t.Errorf("routes %q, want %q", got, want)
	}
	has(t, x, xdsserve.TypeVirtualHost, "http_proxy/"+web, "http_proxy/block_all", web+"/"+web)
	proxied := get(x, xdsserve.TypeVirtualHost, "http_proxy/"+web, &routev3.VirtualHost{})
	for _, d := range []string{"reviews", "reviews:80", "reviews:20080", "reviews.shop.svc.cluster.local:80", "10.96.0.5:80"} {
		if !slices.Contains(proxied.Domains, d) {
			t.Errorf("the HTTP proxy does not know %q: %q", d, proxied.Domains)
		}
	}
	for name, vh := range map[string]*routev3.VirtualHost{"HTTP proxy": proxied, "address": get(x, xdsserve.TypeVirtualHost, web+"/"+web, &routev3.VirtualHost{})} {
		if got := vh.Routes[0].GetRoute().GetTimeout().AsDuration(); got != 3*time.Second {
			t.Errorf("by the %s the timeout is %s", name, got)
		}
	}
	// Two pods of one workload have listeners of their own, and share the rest.
	y := connect("reviews-2.shop", "reviews", "127.9.4.0/24,10.96.0.0/24")
	has(t, y, xdsserve.TypeListener, "127.9.4.1_29080", "127.9.4.5_20080")
	z := connect("nobody-1.shop", "nobody", "127.9.5.0/24,10.96.0.0/24")
	has(t, z, xdsserve.TypeListener, "127.9.5.1_15007", "127.9.5.5_20080")
	if got := z.names(xdsserve.TypeListener); len(got) != 3 {
		t.Errorf("listeners of a workload that nobody calls: %q", got)
	}
}

// One change of a VirtualService costs each proxy one small resource.
func TestOneChangeIsOneResource(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	p.apply(timeout(1))
	x := p.connect(node("a.other", "sidecar", true, nil))
	x.since()
	p.apply(timeout(2))
	if got := x.since(); !slices.Equal(got, []string{"VirtualHost 80/reviews.shop.svc.cluster.local:80"}) {
		t.Errorf("sent %q", got)
	}
	p.apply(timeout(2))
	if got := x.since(); len(got) != 0 {
		t.Errorf("no change, but sent %q", got)
	}
	p.apply("", resource.Key{Kind: resource.KindEndpointSlice, Namespace: "shop", Name: "db-1"})
	if got := x.since(); !slices.Equal(got, []string{"ClusterLoadAssignment outbound|5432||db.shop.svc.cluster.local"}) {
		t.Errorf("sent %q", got)
	}
}

func TestEnvoyGetsWholeRoutes(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	x := p.connect(node("a.other", "sidecar", false, nil))
	rc := get(x, xdsserve.TypeRoute, "80", &routev3.RouteConfiguration{})
	var names []string
	for _, h := range rc.VirtualHosts {
		names = append(names, h.Name)
	}
	if !slices.Contains(names, "reviews.shop.svc.cluster.local:80") || !slices.Contains(names, "allow_any") {
		t.Errorf("virtual hosts %q", names)
	}
	if got := x.names(xdsserve.TypeVirtualHost); len(got) != 0 {
		t.Errorf("virtual hosts beside the routes: %q", got)
	}
	if got := x.names(xdsserve.TypeNameTable); len(got) != 1 {
		t.Errorf("name tables %q, want one", got)
	}
}

func TestGateway(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	x := p.connect(node("gw.shop", "router", true, map[string]string{"istio": "ingressgateway"}))
	has(t, x, xdsserve.TypeListener, "0.0.0.0_8080")
	has(t, x, xdsserve.TypeRoute, "http.8080")
	has(t, x, xdsserve.TypeCluster, "outbound|80||reviews.shop.svc.cluster.local")
	if got := x.names(xdsserve.TypeCluster); slices.Contains(got, "outbound|5432||db.shop.svc.cluster.local") {
		t.Errorf("a gateway gets upstreams that it has no route to: %q", got)
	}
	if got := x.names(xdsserve.TypeListener); slices.Contains(got, "virtualInbound") {
		t.Errorf("a gateway gets %q", got)
	}
}

// The class of a session follows the labels that the registry knows, and its
// configuration goes when the last session does.
func TestClassesFollowWorkloads(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	x := p.connect(node("late-1.shop", "sidecar", true, nil))
	if got := x.names(xdsserve.TypeCluster); slices.Contains(got, "inbound|9080||") {
		t.Fatalf("an unknown pod is behind a service: %q", got)
	}
	p.apply(`
apiVersion: v1
kind: Pod
metadata: {name: late-1, namespace: shop, labels: {app: reviews}}
spec: {containers: [{name: c, image: i}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.7}]}
`)
	has(t, x, xdsserve.TypeCluster, "inbound|9080||")
}

// caller is an Authenticator that always finds the same caller.
type caller struct {
	id  identity.ID
	pod string
	err error
}

func (c caller) Authenticate(context.Context) (identity.Caller, error) {
	return identity.Caller{ID: c.id, Pod: c.pod}, c.err
}

func TestIdentityMustMatchTheNode(t *testing.T) {
	t.Parallel()
	own := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "default"}
	with := func(edit func(*identity.ID)) identity.ID { id := own; edit(&id); return id }
	for _, c := range []struct {
		name string
		auth caller
		code codes.Code
	}{
		{"own", caller{id: own}, codes.OK},
		{"own pod", caller{id: own, pod: "reviews-1"}, codes.OK},
		{"other pod", caller{id: own, pod: "other"}, codes.PermissionDenied},
		{"other namespace", caller{id: with(func(i *identity.ID) { i.Namespace = "x" })}, codes.PermissionDenied},
		{"other account", caller{id: with(func(i *identity.ID) { i.ServiceAccount = "x" })}, codes.PermissionDenied},
		{"other trust domain", caller{id: with(func(i *identity.ID) { i.TrustDomain = "x" })}, codes.PermissionDenied},
		{"no credentials", caller{err: identity.ErrNoCredentials}, codes.PermissionDenied},
		{"bad credentials", caller{err: x509.UnknownAuthorityError{}}, codes.PermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t, controlplane.Settings{Authenticator: c.auth})
			p.apply(shop)
			n := node("reviews-1.shop", "sidecar", true, nil)
			if c.code == codes.OK {
				has(t, p.connect(n), xdsserve.TypeCluster, "PassthroughCluster")
				return
			}
			if code, text := p.dial(n).refused(); code != c.code {
				t.Errorf("%v: %s", code, text)
			}
		})
	}
}

// Who may run as an account may not take over a pod that runs as another.
func TestRegistryKnowsThePodsAccount(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{Authenticator: caller{id: identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "x"}}})
	p.apply(shop)
	n := node("reviews-1.shop", "sidecar", true, nil)
	n.Metadata.Fields["SERVICE_ACCOUNT"] = structpb.NewStringValue("x")
	if code, text := p.dial(n).refused(); code != codes.PermissionDenied {
		t.Errorf("%v: %s", code, text)
	}
}

// Credentials that are there but wrong are refused even where none are needed.
func TestPlaintextDoesNotExcuseBadCredentials(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{Authenticator: caller{err: errors.New("expired")}, AllowPlaintext: true})
	if code, text := p.dial(node("a.shop", "sidecar", true, nil)).refused(); code != codes.PermissionDenied {
		t.Errorf("%v: %s", code, text)
	}
}

func TestNotServedBeforeSourcesAreRead(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{Sources: []string{"test"}})
	if code, text := p.dial(node("a.shop", "sidecar", true, nil)).refused(); code != codes.Unavailable {
		t.Errorf("%v: %s", code, text)
	}
	p.apply(shop)
	<-p.cp.Ready()
	has(t, p.connect(node("a.shop", "sidecar", true, nil)), xdsserve.TypeRoute, "80")
}

// A proxy that came back to a restarted control plane when its sources had been read, but
// nothing derived from them yet, was told of an empty mesh.
func TestReadyMeansThatViewsAreFilled(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{Sources: []string{"test"}})
	objects, _ := resource.Decode("test.yaml", []byte(shop), resource.Options{})
	p.cp.Sink().Apply("test", objects, nil)
	<-p.cp.Ready()
	w := httptest.NewRecorder()
	p.cp.Debug().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/endpointz", nil))
	if !strings.Contains(w.Body.String(), "shop.svc.cluster.local") {
		t.Errorf("ready, and there are no endpoints: %s", w.Body)
	}
}

// Scopes share virtual hosts, but not where who calls makes a difference: short
// names, and routes that look at callers.
func TestVirtualHostsDependOnTheCaller(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	own, other := p.connect(node("a.shop", "sidecar", true, map[string]string{"app": "x"})), p.connect(node("a.other", "sidecar", true, map[string]string{"app": "y"}))
	const name = "80/reviews.shop.svc.cluster.local:80"
	host := func(x *proxy) *routev3.VirtualHost {
		return get(x, xdsserve.TypeVirtualHost, name, &routev3.VirtualHost{})
	}
	for _, c := range []struct {
		x     *proxy
		short bool
	}{{own, true}, {other, false}} {
		ds := host(c.x).Domains
		if slices.Contains(ds, "reviews") != c.short || !slices.Contains(ds, "reviews.shop") || !slices.Contains(ds, "reviews.shop.svc.cluster.local") {
			t.Errorf("%s: domains %q", c.x.node.Id, ds)
		}
	}
	p.apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - {name: by-label, match: [{sourceLabels: {app: y}}], route: [{destination: {host: reviews}}]}
  - {name: by-namespace, match: [{sourceNamespace: shop}], route: [{destination: {host: reviews}}]}
`)
	routes := func(x *proxy) string {
		var out []string
		for _, r := range host(x).Routes {
			out = append(out, r.Name)
		}
		return strings.Join(out, " ")
	}
	if got := routes(own); got != "by-namespace" {
		t.Errorf("routes of the own namespace: %s", got)
	}
	if got := routes(other); got != "by-label" {
		t.Errorf("routes by label: %s", got)
	}
}

// Virtual hosts that are resources of their own never share a domain.
func TestDomainsAreUnique(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop + `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: out}
spec: {hosts: [a.com], addresses: [10.96.0.5], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: short, namespace: shop}
spec: {hosts: [reviews.shop], http: [{route: [{destination: {host: a.com}}]}]}
`)
	x := p.connect(node("a.shop", "sidecar", true, nil))
	owner := map[string]string{}
	for _, n := range x.names(xdsserve.TypeVirtualHost) {
		for _, d := range get(x, xdsserve.TypeVirtualHost, n, &routev3.VirtualHost{}).Domains {
			if owner[d] != "" {
				t.Errorf("domain %s is that of %s and of %s", d, owner[d], n)
			}
			owner[d] = n
		}
	}
	if got := owner["reviews.shop"]; got != "80/reviews.shop:80" {
		t.Errorf("the full name is that of %q; owners %v", got, owner)
	}
	if len(p.cp.Diagnostics()) == 0 {
		t.Error("nothing says that a name was taken")
	}
}

// A service of another namespace has no claim to the short name of one here.
func TestServicesOfTheSameNameKeepTheirShortNames(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop + `---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: a-first}
spec: {clusterIP: 10.96.9.9, selector: {app: reviews}, ports: [{port: 80, name: http}]}
`)
	for namespace, host := range map[string]string{"shop": "reviews.shop.svc.cluster.local", "a-first": "reviews.a-first.svc.cluster.local"} {
		x := p.connect(node("x."+namespace, "sidecar", true, nil))
		owner := map[string]string{}
		for _, n := range x.names(xdsserve.TypeVirtualHost) {
			for _, d := range get(x, xdsserve.TypeVirtualHost, n, &routev3.VirtualHost{}).Domains {
				owner[d] = n
			}
		}
		if got := owner["reviews"]; got != "80/"+host+":80" {
			t.Errorf("in namespace %s reviews is %q; owners %v", namespace, got, owner)
		}
	}
	for _, d := range p.cp.Diagnostics() {
		t.Errorf("finding %v", d)
	}
}

// One mistake is one finding, though derivation and several classes see it.
func TestOneMistakeIsOneFinding(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop + "---" + strings.Replace(timeout(1), "{host: reviews}", "{host: reviews, subset: gone}", 1))
	p.connect(node("a.shop", "sidecar", true, nil))
	p.connect(node("a.other", "sidecar", false, nil))
	if ds := p.cp.Diagnostics(); len(ds) != 1 || ds[0].Code != "IST0101" {
		t.Errorf("diagnostics: %v", ds)
	}
}

// What proxies refuse is a finding at the object that it came from, one for all
// proxies, and gone when they take what replaces it.
func TestRefusalIsAFinding(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	var proxies []*proxy
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		proxies = append(proxies, p.connect(node(name+".shop", "sidecar", true, nil)))
	}
	say := func(why string) {
		for _, x := range proxies {
			x.mu.Lock()
			x.refuse = map[string]string{xdsserve.TypeVirtualHost: why}
			x.mu.Unlock()
		}
	}
	say("timeout: too long")
	objects, _ := resource.Decode("test.yaml", []byte(timeout(1)), resource.Options{})
	p.cp.Sink().Apply("test", objects, nil)
	gen, err := p.cp.Flush(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var refused *xdsserve.RefusedError
	if err := p.cp.Server().Ledger().Wait(t.Context(), gen); !errors.As(err, &refused) {
		t.Fatalf("wait: %v", err)
	}
	ds := p.cp.RefusalFindings()
	if len(ds) != 1 || ds[0].Object.String() != "VirtualService shop/reviews" || ds[0].Pos.Line != 2 || ds[0].Severity != diag.Error ||
		ds[0].Message != "the proxies of a.shop, b.shop, c.shop and 2 more refused what this became: timeout: too long" {
		t.Errorf("findings: %+v", ds)
	}
	say("")
	p.apply(timeout(2))
	if ds := p.cp.RefusalFindings(); len(ds) != 0 {
		t.Errorf("findings: %+v", ds)
	}
}

const secret = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: cert}
  - port: {number: 9443, name: named, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: shop/cert}
`

// A certificate goes to gateways of its own namespace only.
func TestCertificatesStayInTheirNamespace(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	cert, key := selfSigned(t)
	in := func(ns string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: cert, namespace: %s}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n", ns, cert, key)
	}
	p.apply(shop + "---" + secret + in("shop"))
	labels := map[string]string{"istio": "ingressgateway"}
	own, foreign := p.connect(node("gw.shop", "router", true, labels)), p.connect(node("gw.evil", "router", true, labels))
	has(t, own, xdsserve.TypeSecret, "kubernetes://cert", "kubernetes://shop/cert")
	if got := foreign.names(xdsserve.TypeSecret); len(got) != 0 {
		t.Errorf("a gateway of another namespace got %q", got)
	}
	found := false
	for _, d := range p.cp.Diagnostics() {
		found = found || d.Code == "IST0161"
	}
	if !found {
		t.Error("nothing says that a gateway did not get its certificate")
	}
	p.apply("", resource.Key{Kind: resource.KindSecret, Namespace: "shop", Name: "cert"})
	if got := own.names(xdsserve.TypeSecret); len(got) != 0 {
		t.Errorf("the certificate is gone, but the gateway has %q", got)
	}
}

func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"shop.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	enc := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return enc("CERTIFICATE", der), enc("PRIVATE KEY", pkcs8)
}

// A Sidecar limits what a workload sees; what its routes lead to comes along.
func TestSidecarScope(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop + `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: other}
spec: {egress: [{hosts: ["shop/reviews.shop.svc.cluster.local"]}]}
`)
	const reviews, db = "outbound|80||reviews.shop.svc.cluster.local", "outbound|5432||db.shop.svc.cluster.local"
	x := p.connect(node("a.other", "sidecar", true, nil))
	has(t, x, xdsserve.TypeCluster, reviews)
	if got := x.names(xdsserve.TypeCluster); slices.Contains(got, db) {
		t.Errorf("not imported, but there: %q", got)
	}
	p.apply(strings.Replace(timeout(1), "destination: {host: reviews}", "destination: {host: db, port: {number: 5432}}", 1))
	has(t, x, xdsserve.TypeCluster, db)
	p.apply("", resource.Key{Kind: resource.KindSidecar, Namespace: "other", Name: "default"})
	has(t, x, xdsserve.TypeNameTable, "db.shop.svc.cluster.local")
}

// Policies that cannot be enforced arrive at the proxy as refusals.
func TestUnsupportedPolicyFailsClosed(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop)
	x := p.connect(node("reviews-1.shop", "sidecar", true, nil))
	p.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: outside, namespace: shop}
spec: {selector: {matchLabels: {app: reviews}}, action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {paths: [/a]}}]}]}
`)
	l := get(x, xdsserve.TypeListener, "virtualInbound", &listenerv3.Listener{})
	if raw := prototext.Format(l); !strings.Contains(raw, "ns[shop]-policy[outside]-rule[0]") || !strings.Contains(raw, "DENY") {
		t.Error("the inbound listener does not refuse what the policy selects")
	}
}

// A broken MeshConfig leaves the last good one in force and says so.
func TestMeshConfigFromConfigMap(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	config := func(mesh string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    " + mesh + "\n"
	}
	p.apply(shop)
	x := p.connect(node("a.other", "sidecar", true, nil))
	p.apply(config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"))
	has(t, x, xdsserve.TypeVirtualHost, "80/block_all")
	p.apply(config("outboundTrafficPolicy: {mode: SOMETHING}"))
	has(t, x, xdsserve.TypeVirtualHost, "80/block_all")
	if ds := p.cp.Diagnostics(); len(ds) < 2 {
		t.Errorf("diagnostics: %v", ds)
	}
}

func TestDebugPages(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{})
	p.apply(shop + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cert, namespace: shop}\nstringData: {tls.crt: PUBLIC, tls.key: PRIVATEKEY}\n")
	p.connect(node("reviews-1.shop", "sidecar", true, nil))
	for _, c := range []struct{ path, want string }{
		{"/debug/syncz", "reviews-1.shop"},
		{"/debug/registryz", "reviews.shop.svc.cluster.local"},
		{"/debug/endpointz", "10.1.0.1"},
		{"/debug/configz", "front"},
		{"/debug/diagnosticz", "["},
		{"/debug/syncz", `"proxy": "reviews-1.shop"`},
		{"/debug/mesh", `"rootNamespace"`},
		{"/debug/connections", `"totalClients": 1`},
		{"/debug/list", "/debug/config_dump"},
		{"/debug/", `href="/debug/syncz"`},
		{"/debug/config_dump?proxyID=reviews-1.shop", "type.googleapis.com/envoy.admin.v3.ListenersConfigDump"},
		{"/debug/originz?proxyID=reviews-1.shop", "Service/shop/reviews"},
		{"/debug/collectionz", "virtual-services"},
	} {
		rec := httptest.NewRecorder()
		p.cp.Debug().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, c.path, nil))
		if body := rec.Body.String(); rec.Code != 200 || !strings.Contains(body, c.want) || strings.Contains(body, "PRIVATEKEY") {
			t.Errorf("%s: %d, %d bytes, want %q in it and no key", c.path, rec.Code, len(body), c.want)
		}
	}
	rec := httptest.NewRecorder()
	p.cp.Debug().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/debug/config_dump?proxyID=nobody.shop", nil))
	if rec.Code != 404 {
		t.Errorf("dump of nobody: %d", rec.Code)
	}
}
