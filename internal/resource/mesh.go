package resource

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
)

// DefaultMeshConfig is what holds when no MeshConfig is written: Istio's defaults.
func DefaultMeshConfig() *meshv1alpha1.MeshConfig {
	return &meshv1alpha1.MeshConfig{
		ProxyListenPort:                15001,
		ProxyInboundListenPort:         15006,
		ConnectTimeout:                 durationpb.New(10 * time.Second),
		ProtocolDetectionTimeout:       durationpb.New(0),
		DnsRefreshRate:                 durationpb.New(60 * time.Second),
		EnableTracing:                  true,
		AccessLogEncoding:              meshv1alpha1.MeshConfig_TEXT,
		OutboundTrafficPolicy:          &meshv1alpha1.MeshConfig_OutboundTrafficPolicy{Mode: meshv1alpha1.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY},
		InboundTrafficPolicy:           &meshv1alpha1.MeshConfig_InboundTrafficPolicy{Mode: meshv1alpha1.MeshConfig_InboundTrafficPolicy_PASSTHROUGH},
		EnableAutoMtls:                 wrapperspb.Bool(true),
		EnablePrometheusMerge:          wrapperspb.Bool(true),
		TrustDomain:                    "cluster.local",
		RootNamespace:                  "istio-system",
		DefaultServiceExportTo:         []string{"*"},
		DefaultVirtualServiceExportTo:  []string{"*"},
		DefaultDestinationRuleExportTo: []string{"*"},
		LocalityLbSetting:              &networkingv1alpha3.LocalityLoadBalancerSetting{Enabled: wrapperspb.Bool(true)},
		IngressClass:                   "istio",
		IngressService:                 "istio-ingressgateway",
		IngressControllerMode:          meshv1alpha1.MeshConfig_STRICT,
		DefaultConfig:                  DefaultProxyConfig(),
	}
}

// DefaultProxyConfig is MeshConfig.defaultConfig when none is written.
func DefaultProxyConfig() *meshv1alpha1.ProxyConfig {
	return &meshv1alpha1.ProxyConfig{
		ConfigPath:               "./etc/istio/proxy",
		BinaryPath:               "/usr/local/bin/envoy",
		ClusterName:              &meshv1alpha1.ProxyConfig_ServiceCluster{ServiceCluster: "istio-proxy"},
		DrainDuration:            durationpb.New(45 * time.Second),
		TerminationDrainDuration: durationpb.New(5 * time.Second),
		ProxyAdminPort:           15000,
		ControlPlaneAuthPolicy:   meshv1alpha1.AuthenticationPolicy_MUTUAL_TLS,
		DiscoveryAddress:         "istiod.istio-system.svc:15012",
		StatNameLength:           189,
		StatusPort:               15020,
	}
}

// DecodeMeshConfig reads a MeshConfig (the text under "mesh" in Istio's
// ConfigMap, or a file of its own) over the defaults. With any error among the
// findings the result is nil: a mesh must not run on half of what was written.
func DecodeMeshConfig(file string, data []byte) (*meshv1alpha1.MeshConfig, []diag.Diagnostic) {
	mc, ok := DefaultMeshConfig(), false
	root, r := decodePlain(file, data, "MeshConfig")
	if root != nil {
		overlay(r, root, mc)
		ok = !r.hasErrors()
	}
	if !ok {
		return nil, r.ds
	}
	found := validateMeshConfig(mc, indexFields(file, root))
	return unlessErrors(mc, append(r.ds, found...))
}

// DecodeProxyConfig reads a mesh.v1alpha1.ProxyConfig (the annotation
// proxy.istio.io/config, or a file) over base, which is not changed.
func DecodeProxyConfig(file string, data []byte, base *meshv1alpha1.ProxyConfig) (*meshv1alpha1.ProxyConfig, []diag.Diagnostic) {
	pc := proto.CloneOf(base)
	root, r := decodePlain(file, data, "ProxyConfig")
	if root != nil {
		overlay(r, root, pc)
	}
	if root == nil || r.hasErrors() {
		return nil, r.ds
	}
	found := validateProxyConfig(pc, indexFields(file, root))
	return unlessErrors(pc, append(r.ds, found...))
}

// DecodeMeshNetworks reads MeshNetworks (the text under "meshNetworks" in Istio's
// ConfigMap, or a file of its own). With any error the result is nil.
func DecodeMeshNetworks(file string, data []byte) (*meshv1alpha1.MeshNetworks, []diag.Diagnostic) {
	networks := &meshv1alpha1.MeshNetworks{}
	root, r := decodePlain(file, data, "MeshNetworks")
	if root == nil {
		return nil, r.ds
	}
	overlay(r, root, networks)
	return unlessErrors(networks, r.ds)
}

func unlessErrors[T any](v *T, ds []diag.Diagnostic) (*T, []diag.Diagnostic) {
	if worst, ok := diag.Worst(ds); ok && worst == diag.Error {
		return nil, ds
	}
	return v, ds
}

// decodePlain parses a text that is one message without an envelope. An empty
// text is an empty message.
func decodePlain(file string, data []byte, what string) (*node, *reporter) {
	d := newDecoder(file, Options{})
	r := &reporter{file: file, obj: diag.Object{Kind: what}}
	data, bad := d.prepare(data)
	if bad != nil {
		r.add(bad.diagnostic(), bad.pos)
		return nil, r
	}
	chunks := splitDocuments(data)
	switch len(chunks) {
	case 0:
		return &node{kind: mapNode, pos: place{1, 1}}, r
	case 1:
	default:
		r.errorf(place{int32(chunks[1].line), 1}, "keep one document", "a %s is one document, found %d", what, len(chunks))
		return nil, r
	}
	root, errs := d.parse(chunks[0])
	for _, e := range errs {
		r.add(e.diagnostic(), e.pos)
	}
	switch {
	case root == nil:
		return nil, r
	case root.kind == nullNode:
		root.kind = mapNode
	case root.kind != mapNode:
		r.mistyped(root, "an object")
		return nil, r
	}
	return root, r
}

// overlay lays what is written over the values m already has: messages are
// merged field by field, lists and maps are replaced.
func overlay(r *reporter, root *node, m proto.Message) {
	written := m.ProtoReflect().New()
	protoDecoder{r}.message(root, written)
	overlayMessage(root, written, m.ProtoReflect())
}
