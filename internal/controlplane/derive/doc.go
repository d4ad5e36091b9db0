// Package derive turns user intent (resource objects) into the domain (mesh
// values): services, endpoints, workloads, routing and security objects, names,
// and what is wrong with them. One file per output.
//
//	in := derive.NewInputs(g)                     // written by the sources
//	m := derive.New(g, derive.Settings{...}, in)  // follows by itself
//	m.Services.List()
//
// Every output is a collection: a change of one object recomputes what it
// touches, and an output that comes out equal is no change.
package derive

import (
	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Objects is the collection of all objects of one kind.
type Objects = collection.Collection[*resource.Object]

// Settings are what the process knows and no object says.
type Settings struct {
	ClusterDomain string // cluster.local
	Cluster       string // ID of the home cluster, Kubernetes
	Network       string // network of home's workloads that name none
}

// ClusterID is the ID of the cluster of an object (resource.Key.Cluster).
func (s Settings) ClusterID(of string) string { return orDefault(of, s.Cluster) }

// ObjectCluster is the cluster of the objects of a cluster with an ID: "" for home.
func (s Settings) ObjectCluster(id string) string {
	if id == s.Cluster {
		return ""
	}
	return id
}

// Inputs are the collections that sources write.
type Inputs struct {
	byKind map[resource.Kind]*collection.Input[*resource.Object]
	// Config holds the one mesh config in force.
	Config *collection.Input[*mesh.MeshConfig]
	// Deployed is what runs for Gateways of the Gateway API, by namespace/name.
	Deployed *collection.Input[*gatewayapi.Deployed]
	// KeySets are the keys of issuers of tokens, by their KeySource.
	KeySets *collection.Input[*mesh.KeySet]
}

// NewInputs makes an empty input for every kind that derivation reads.
func NewInputs(g *collection.Graph) *Inputs {
	in := &Inputs{byKind: map[resource.Kind]*collection.Input[*resource.Object]{}}
	in.Config = collection.NewInput[*mesh.MeshConfig](g, "MeshConfig")
	in.Deployed = collection.NewInput[*gatewayapi.Deployed](g, "Deployed")
	in.KeySets = collection.NewInput[*mesh.KeySet](g, "KeySets")
	for _, k := range Kinds() {
		in.byKind[k] = collection.NewInput[*resource.Object](g, k.String())
	}
	return in
}

// Kinds are the kinds of object that derivation reads.
func Kinds() []resource.Kind {
	return []resource.Kind{
		resource.KindService, resource.KindEndpointSlice, resource.KindPod, resource.KindNode,
		resource.KindSecret, resource.KindConfigMap,
		resource.KindServiceEntry, resource.KindWorkloadEntry, resource.KindVirtualService,
		resource.KindDestinationRule, resource.KindGateway, resource.KindSidecar,
		resource.KindPeerAuthentication, resource.KindRequestAuthentication,
		resource.KindAuthorizationPolicy, resource.KindTelemetry,
		resource.KindEnvoyFilter, resource.KindWasmPlugin, resource.KindTrafficExtension, resource.KindProxyConfig,
		resource.KindNamespace, resource.KindGatewayClass, resource.KindKubeGateway, resource.KindListenerSet,
		resource.KindHTTPRoute, resource.KindGRPCRoute, resource.KindTLSRoute, resource.KindTCPRoute,
		resource.KindReferenceGrant, resource.KindBackendTLSPolicy, resource.KindIngress, resource.KindIngressClass,
	}
}

// Of returns the input of a kind; nil when derivation does not read it.
func (in *Inputs) Of(k resource.Kind) *collection.Input[*resource.Object] { return in.byKind[k] }

// Mesh is everything that is derived.
type Mesh struct {
	Settings Settings

	Config           collection.Collection[*mesh.MeshConfig]
	Workloads        collection.Collection[*mesh.Workload]
	Services         collection.Collection[*mesh.Service]
	Endpoints        collection.Collection[*mesh.EndpointSet]
	Identities       collection.Collection[*Identities]
	VirtualServices  collection.Collection[*mesh.VirtualService]
	DestinationRules collection.Collection[*mesh.DestinationRule]
	Gateways         collection.Collection[*mesh.Gateway]
	Sidecars         collection.Collection[*mesh.SidecarConfig]
	Authn            collection.Collection[*mesh.PeerAuthentication]
	Authz            collection.Collection[*mesh.AuthorizationPolicy]
	RequestAuthn     collection.Collection[*mesh.RequestAuthentication]
	KeySources       collection.Collection[*mesh.KeySource]
	Telemetry        collection.Collection[*mesh.TelemetryConfig]
	Certificates     collection.Collection[*mesh.Certificate]
	Names            collection.Collection[*Name]
	Networks         collection.Collection[*Networks]
	Findings         collection.Collection[*Finding]
	// GatewayStatuses are those that objects of the Gateway API, and Ingresses, should have.
	GatewayStatuses collection.Collection[*gatewayapi.Status]

	// clusters are those that the mesh has objects of.
	clusters    collection.Collection[*clusters]
	keySets     collection.Collection[*mesh.KeySet]
	tlsPolicies collection.Collection[*gatewayapi.TLSPolicy]

	// ServicesByHost finds services by host.
	ServicesByHost *collection.Index[*mesh.Service]
	// ServicesByNamespace finds services by namespace.
	ServicesByNamespace *collection.Index[*mesh.Service]
	// WorkloadsByAddress finds workloads by IP.
	WorkloadsByAddress *collection.Index[*mesh.Workload]
	// WorkloadsByNamespace finds workloads by namespace.
	WorkloadsByNamespace *collection.Index[*mesh.Workload]
}

// New wires all derivations.
func New(g *collection.Graph, s Settings, in *Inputs) *Mesh {
	m := &Mesh{Settings: s, Config: in.Config}
	m.clusters = clustersOf(g, s, in)
	certificates(g, m, in)
	api := newGatewayAPI(g, m, in)
	networks(g, m, in)
	workloads(g, m, in)
	services(g, m, in, api)
	endpoints(g, m, in)
	names(g, m)
	routes, servers := api.derive(g)
	resolved := virtualServices(g, m, in, routes)
	destinationRules(g, m, in)
	m.Gateways = collection.Join(g, "gateways", collection.Derive(g, "gateways-written", Objects(in.Of(resource.KindGateway)), gatewayOf), servers)
	m.Sidecars = plain(g, "sidecars", in.Of(resource.KindSidecar), sidecarSpec)
	m.Authn = plain(g, "peer-authentications", in.Of(resource.KindPeerAuthentication), peerAuthenticationSpec)
	m.Telemetry = plain(g, "telemetries", in.Of(resource.KindTelemetry), telemetrySpec)
	guarded := authorization(g, m, in)
	tokens(g, m, in)
	findings(g, m, in, resolved, guarded, api.findings(g))
	return m
}

// config returns the mesh config; ok is false before there is one.
func (m *Mesh) config(c *collection.Ctx) (*mesh.MeshConfig, bool) {
	return collection.Fetch(c, m.Config, "mesh")
}
