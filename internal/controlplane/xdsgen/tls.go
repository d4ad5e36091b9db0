package xdsgen

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Secrets and the static cluster by which every proxy reaches its agent.
const (
	sdsCluster  = "sds-grpc"
	secretCert  = "default"
	secretRoots = "ROOTCA"
	tlsSocket   = "envoy.transport_sockets.tls"
	rawSocket   = "envoy.transport_sockets.raw_buffer"
	// peerExchange announces TCP metadata exchange.
	peerExchange = "istio-peer-exchange"
)

// meshCiphers are offered for TLS 1.2 within the mesh.
func meshCiphers() []string {
	return []string{
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
		"AES256-GCM-SHA384", "AES128-GCM-SHA256",
	}
}

func socket(name string, m proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: name, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(m)}}
}

func plainSocket() *corev3.TransportSocket { return socket(rawSocket, &rawv3.RawBuffer{}) }

// agentSecret is a secret that the agent serves over its own socket.
func agentSecret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: seconds(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: sdsCluster},
			}}},
		}},
	}}
}

// meshSecret is a secret that the control plane serves: gateway certificates. One
// that does not exist must not hold up all else for ever, so that the wait for it
// ends; connections that need it are refused then.
func meshSecret(name string) *tlsv3.SdsSecretConfig {
	s := adsSource()
	s.InitialFetchTimeout = seconds(5)
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: s}
}

func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3, InitialFetchTimeout: seconds(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// combined verifies peers by a served trust bundle and by names.
func combined(roots *tlsv3.SdsSecretConfig, names *tlsv3.CertificateValidationContext) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: names, ValidationContextSdsSecretConfig: roots,
		},
	}
}

// uriNames are conditions on the URI names of a certificate, any of which must hold.
func uriNames(matchers []*matcherv3.StringMatcher) *tlsv3.CertificateValidationContext {
	return typedNames(tlsv3.SubjectAltNameMatcher_URI, matchers)
}

func typedNames(t tlsv3.SubjectAltNameMatcher_SanType, matchers []*matcherv3.StringMatcher) *tlsv3.CertificateValidationContext {
	v := &tlsv3.CertificateValidationContext{}
	for _, m := range matchers {
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{SanType: t, Matcher: m})
	}
	return v
}

// anyNames accepts each of the names, of the type that its form tells.
func anyNames(names []string) *tlsv3.CertificateValidationContext {
	v := &tlsv3.CertificateValidationContext{}
	for _, n := range sortedSet(names) {
		t := tlsv3.SubjectAltNameMatcher_DNS
		switch {
		case strings.Contains(n, "://"):
			t = tlsv3.SubjectAltNameMatcher_URI
		case isAddress(n):
			t = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
		}
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{SanType: t, Matcher: exactly(n)})
	}
	return v
}

// trustDomainNames accepts every identity of the mesh's trust domains.
func trustDomainNames(m *mesh.MeshConfig) *tlsv3.CertificateValidationContext {
	var out []*matcherv3.StringMatcher
	for _, td := range sortedSet(m.TrustDomains) {
		out = append(out, prefixed("spiffe://"+td+"/"))
	}
	return uriNames(out)
}

// meshParams are the TLS parameters of connections within the mesh.
func meshParams(m *mesh.MeshConfig) *tlsv3.TlsParameters {
	p := &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		CipherSuites: meshCiphers(),
	}
	d := m.GetMeshMTLS()
	if d.GetMinProtocolVersion() == meshv1.MeshConfig_TLSConfig_TLSV1_3 {
		p.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_3
	}
	if l := d.GetCipherSuites(); len(l) > 0 {
		p.CipherSuites = l
	}
	p.EcdhCurves = d.GetEcdhCurves()
	return p
}

// serverSocket is the inbound side of mTLS within the mesh.
func serverSocket(m *mesh.MeshConfig, alpn ...string) *corev3.TransportSocket {
	return socket(tlsSocket, &tlsv3.DownstreamTlsContext{
		RequireClientCertificate: boolean(true),
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: meshParams(m), AlpnProtocols: alpn,
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{agentSecret(secretCert)},
			ValidationContextType:          combined(agentSecret(secretRoots), trustDomainNames(m)),
		},
	})
}

// clientSocket is the outbound side of mTLS within the mesh. Without known
// identities any of the mesh's own is accepted.
func clientSocket(m *mesh.MeshConfig, sni string, identities, alpn []string) *corev3.TransportSocket {
	names := trustDomainNames(m)
	if len(identities) > 0 {
		names = anyNames(identities)
	}
	return socket(tlsSocket, &tlsv3.UpstreamTlsContext{
		Sni: sni,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: meshParams(m), AlpnProtocols: alpn,
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{agentSecret(secretCert)},
			ValidationContextType:          combined(agentSecret(secretRoots), names),
		},
	})
}
