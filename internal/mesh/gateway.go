package mesh

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

// Gateway opens ports on gateway proxies: one of Istio's as it is written, one
// listener of a Gateway of the Gateway API, or an Ingress. Read-only.
type Gateway struct {
	Config[*networking.Gateway]
	// Listener is set for the Gateway API and Ingress only.
	Listener *Listener
}

// Listener is what a listener of the Gateway API says beside a server of Istio's.
type Listener struct {
	// Name is namespace/gateway~listener, by which VirtualServices that are made of
	// routes refer to it. No name that users write can be like it.
	Name string
	// Gateway is namespace/name, by which policies refer to it.
	Gateway string
	// Namespace is where the proxies run; the selector looks nowhere else. "" is anywhere,
	// for Ingresses, whose gateway the mesh config names.
	Namespace string
	// Granted: certificates may be of another namespace, which has been looked at.
	Granted bool
	// Unverified: a certificate that a client shows is taken as it is, and need not be
	// one that can be verified. Authorization does not believe it.
	Unverified bool
	// ClientCertificate is the credential that the proxies show to backends that are called
	// with BackendTLS; "" for none.
	ClientCertificate string
	// Elsewhere are hosts of other listeners of the port that end TLS: a request for one
	// of them has come by a connection that was made to another (421).
	Elsewhere []string
	// Field is the path of the listener in its object: spec.listeners[0].
	Field string
}

func (l *Listener) equal(m *Listener) bool {
	return l == m || l != nil && m != nil && l.Name == m.Name && l.Gateway == m.Gateway && l.Namespace == m.Namespace && l.Granted == m.Granted &&
		l.Unverified == m.Unverified && l.ClientCertificate == m.ClientCertificate && l.Field == m.Field && slices.Equal(l.Elsewhere, m.Elsewhere)
}

// CollectionKey makes gateways usable in collections.
func (g *Gateway) CollectionKey() string {
	if g.Listener != nil {
		return "listener/" + g.Listener.Name
	}
	return g.Config.CollectionKey()
}

// Equal reports whether content and place are the same.
func (g *Gateway) Equal(h *Gateway) bool {
	if g == h {
		return true
	}
	return g.Listener.equal(h.Listener) && g.Config.Equal(&h.Config)
}

// GatewayName is the form in which VirtualServices refer to gateways:
// namespace/name, or that of a listener.
func GatewayName(g *Gateway) string {
	if g.Listener != nil {
		return g.Listener.Name
	}
	return g.Origin.Namespace + "/" + g.Origin.Name
}

// PolicyTarget is the form in which policies refer to gateways: namespace/name.
func (g *Gateway) PolicyTarget() string {
	if g.Listener != nil {
		return g.Listener.Gateway
	}
	return GatewayName(g)
}

// ServedBy reports whether proxies with these labels in a namespace serve the gateway.
func (g *Gateway) ServedBy(namespace string, labels map[string]string) bool {
	if g.Listener != nil && g.Listener.Namespace != "" && g.Listener.Namespace != namespace {
		return false
	}
	sel := g.Spec.GetSelector()
	return len(sel) > 0 && Selects(sel, labels)
}

// GatewayServer is one server of a Gateway as a gateway proxy sees it. Read-only.
type GatewayServer struct {
	Gateway  string // GatewayName
	Index    int    // in the Gateway's servers
	Field    string // path in Origin's object: spec.servers[0], spec.listeners[0]
	Origin   Origin
	Server   *networking.Server
	Protocol Protocol
	Port     uint32 // as written
	// BindPort is where the proxy listens: the target port of the Service in front
	// of it that has Port, or Port itself.
	BindPort uint32
	// Hosts are the DNS names, each with the namespace that VirtualServices must
	// be in ("*" for any; "." is resolved).
	Hosts []HostPattern
	// Granted: its certificates may be of another namespace.
	Granted bool
	// Unverified, ClientCertificate and Elsewhere are those of Listener.
	Unverified        bool
	ClientCertificate string
	Elsewhere         []string
}
