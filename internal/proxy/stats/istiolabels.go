package stats

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Reporter says from which side a proxy reports.
type Reporter uint8

// Reporters.
const (
	ReportSource Reporter = iota
	ReportDestination
	ReportWaypoint
)

func (r Reporter) String() string {
	return [...]string{"source", "destination", "waypoint"}[r]
}

// ReporterOf follows the listener's direction: inbound reports as destination.
func ReporterOf(cfg *snapshot.IstioStats, c *flow.Conn) Reporter {
	switch {
	case cfg.ServerGateway:
		return ReportWaypoint
	case c != nil && c.Listener != nil && c.Listener.Direction == snapshot.Inbound:
		return ReportDestination
	default:
		return ReportSource
	}
}

// dimension is a label of Istio's metrics; they are written in this order.
type dimension uint8

// Labels.
const (
	dimReporter dimension = iota
	dimSourceWorkload
	dimSourceCanonicalService
	dimSourceCanonicalRevision
	dimSourceNamespace
	dimSourcePrincipal
	dimSourceApp
	dimSourceVersion
	dimSourceCluster
	dimDestWorkload
	dimDestNamespace
	dimDestPrincipal
	dimDestApp
	dimDestVersion
	dimDestService
	dimDestCanonicalService
	dimDestCanonicalRevision
	dimDestServiceName
	dimDestServiceNamespace
	dimDestCluster
	dimProtocol
	dimCode
	dimGRPCStatus
	dimFlags
	dimSecurity
	numDimensions
)

var dimensionNames = [numDimensions]string{
	"reporter", "source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace",
	"source_principal", "source_app", "source_version", "source_cluster", "destination_workload",
	"destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
	"destination_service", "destination_canonical_service", "destination_canonical_revision", "destination_service_name",
	"destination_service_namespace", "destination_cluster", "request_protocol", "response_code", "grpc_response_status",
	"response_flags", "connection_security_policy",
}

// httpOnly reports whether TCP metrics have no such label.
func (d dimension) httpOnly() bool { return d == dimCode || d == dimGRPCStatus }

const unknown = "unknown"

// maxLabel bounds the values of labels in bytes: peers and clients choose some.
const maxLabel = 256

// bound makes every value valid text of bounded length.
func (v *values) bound() {
	for i, s := range v {
		if len(s) > maxLabel {
			s = s[:maxLabel]
		}
		v[i] = strings.ToValidUTF8(s, "?")
	}
}

// key is what the labels of a request depend on. Peers and clusters are compared
// by identity: equal ones behind other pointers end in the same series.
type key struct {
	plan       *Plan
	down, up   *flow.Peer
	endpoint   *snapshot.EndpointInfo
	cluster    *snapshot.Cluster
	downID     string // principal of the client
	upID       string // principal of the upstream
	host       string // of the request, for services the cluster does not name
	name       string // of a cluster that does not exist
	extra      string // values of configured dimensions
	flags      flow.Flags
	code       int32
	grpcStatus int32
	reporter   Reporter
	proto      uint8 // protocolTCP ...
	mutual     bool
}

const (
	protocolTCP uint8 = iota
	protocolHTTP
	protocolGRPC
)

// values are the labels of a key as text.
type values [numDimensions]string

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

// workload sets the labels of one side.
func (v *values) workload(p *flow.Peer, principal string, w, service, revision, ns, id, app, version, cluster dimension) {
	if p == nil {
		p = &flow.Peer{}
	}
	namespace := p.Namespace
	if n := namespaceOf(principal); n != "" {
		namespace = n // what a certificate says goes before what a peer says
	}
	v[w], v[service], v[ns] = orUnknown(p.Workload), orUnknown(p.CanonicalName), orUnknown(namespace)
	v[revision] = p.CanonicalRevision
	if p.CanonicalRevision == "" {
		v[revision] = "latest"
	}
	v[id], v[app], v[version], v[cluster] = orUnknown(principal), orUnknown(p.App), orUnknown(p.Version), orUnknown(p.Cluster)
}

// namespaceOf reads spiffe://<domain>/ns/<namespace>/sa/<account>.
func namespaceOf(principal string) string {
	rest, ok := strings.CutPrefix(principal, "spiffe://")
	if !ok {
		return ""
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 5 || parts[1] != "ns" || parts[3] != "sa" {
		return ""
	}
	return parts[2]
}

// labels turns a key into text. self and own are this proxy's workload and principal.
func (k *key) labels(self *flow.Peer, own string) *values {
	v := &values{}
	v[dimReporter] = k.reporter.String()
	source, dest, sourceID, destID := self, k.up, "", k.upID
	if dest == nil {
		dest = peerOf(k.endpoint)
	}
	switch k.reporter {
	case ReportSource:
		if k.upID != "" {
			sourceID = own
		}
		v[dimSecurity] = unknown
	case ReportDestination:
		source, dest, sourceID, destID = k.down, self, k.downID, ""
		if k.mutual {
			destID = own
		}
		v[dimSecurity] = security(k.mutual)
	case ReportWaypoint:
		source, sourceID = k.down, k.downID
		v[dimSecurity] = security(k.mutual)
	}
	v.workload(source, sourceID, dimSourceWorkload, dimSourceCanonicalService, dimSourceCanonicalRevision,
		dimSourceNamespace, dimSourcePrincipal, dimSourceApp, dimSourceVersion, dimSourceCluster)
	v.workload(dest, destID, dimDestWorkload, dimDestCanonicalService, dimDestCanonicalRevision,
		dimDestNamespace, dimDestPrincipal, dimDestApp, dimDestVersion, dimDestCluster)
	k.service(v)
	v[dimProtocol] = [...]string{"tcp", "http", "grpc"}[k.proto]
	v[dimCode] = strconv.Itoa(int(k.code))
	if k.proto == protocolGRPC && k.grpcStatus >= 0 {
		v[dimGRPCStatus] = strconv.Itoa(int(k.grpcStatus))
	}
	v[dimFlags] = k.flags.String()
	v.bound()
	return v
}

func security(mutual bool) string {
	if mutual {
		return "mutual_tls"
	}
	return "none"
}

func peerOf(e *snapshot.EndpointInfo) *flow.Peer {
	if e == nil || e.Workload == (snapshot.Workload{}) {
		return nil
	}
	w := e.Workload
	return &flow.Peer{
		Workload: w.Name, Namespace: w.Namespace, CanonicalName: w.CanonicalName, CanonicalRevision: w.CanonicalRevision, Cluster: w.Cluster,
	}
}

// service sets the labels of the service asked for: the cluster's metadata, else
// the host of the request.
func (k *key) service(v *values) {
	var ref snapshot.ServiceRef
	if named(k.cluster) {
		ref = k.cluster.Mesh.Services[0]
	}
	host, name := ref.Host, ref.Name
	if host == "" {
		host = k.host
	}
	if c := clusterName(k); isPassthrough(c) {
		name = c
	}
	if name == "" {
		name = host
	}
	ns := ref.Namespace
	if ns == "" {
		ns = v[dimDestNamespace]
	}
	v[dimDestService], v[dimDestServiceName], v[dimDestServiceNamespace] = orUnknown(host), orUnknown(name), orUnknown(ns)
}

func named(c *snapshot.Cluster) bool { return c != nil && len(c.Mesh.Services) > 0 }

func clusterName(k *key) string {
	if k.cluster != nil {
		return k.cluster.Name
	}
	return k.name
}

func isPassthrough(cluster string) bool {
	switch cluster {
	case "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster", "InboundPassthroughClusterIpv4", "InboundPassthroughClusterIpv6":
		return true
	default:
		return false
	}
}

// keyOf collects what the labels of r depend on. The strings of the key belong to
// others: copy them to keep the key.
func keyOf(p *Plan, r *flow.Record) key {
	k := key{
		plan: p, cluster: r.Cluster, flags: r.Flags, code: int32(r.Status), grpcStatus: -1,
		reporter: ReporterOf(p.cfg, r.Conn),
	}
	switch {
	case r.Protocol == 0:
		k.proto = protocolTCP
	case r.GRPC:
		k.proto, k.grpcStatus = protocolGRPC, r.GRPCStatus
	default:
		k.proto = protocolHTTP
	}
	if k.cluster == nil {
		k.name = r.ClusterName
	}
	if k.reporter != ReportSource && r.Conn != nil {
		k.mutual, k.down, k.downID = r.Conn.Mutual(), r.DownstreamPeer, r.Conn.Principal()
		if k.down == nil {
			k.down = r.Conn.Peer
		}
	}
	if k.reporter != ReportDestination {
		if k.up = r.UpstreamPeer; k.up == nil && r.Endpoint != nil {
			k.endpoint = r.Endpoint.Info
		}
		if t := r.UpstreamTLS; t != nil && len(t.PeerURISANs) > 0 {
			k.upID = t.PeerURISANs[0]
		}
	}
	return k
}

// maxHost bounds hosts in labels (RFC 1035 §2.3.4, with a port).
const maxHost = 260

// appendHost adds the host of the request if it may become a label.
func appendHost(dst []byte, p *Plan, r *flow.Record) []byte {
	if p.cfg.DisableHostHeader {
		return dst
	}
	h := r.Req.Get(header.Authority)
	if len(h) > maxHost || !utf8.Valid(h) {
		return dst
	}
	return append(dst, h...)
}
