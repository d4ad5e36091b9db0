package xdsgen

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// tlsModeKey is the endpoint metadata that automatic mTLS looks at.
const tlsModeKey = "tlsMode"

// transport decides whether and how connections are encrypted.
func (b *clusterBuilder) transport(c *clusterv3.Cluster) {
	t := b.policy.GetTls()
	if own := b.Service.BackendTLS[b.Port.Number]; own != nil {
		t, b.refuse = own.TLS, b.refuse || own.Refused
	}
	switch {
	case t == nil:
		if b.AutoMTLS && !b.Service.External {
			b.autoMTLS(c)
		}
	case t.Mode == networking.ClientTLSSettings_ISTIO_MUTUAL:
		sni := t.GetSni()
		if sni == "" {
			sni = sniName(b.Port.Number, b.Subset, b.Service.Host)
		}
		names := b.identities()
		if len(t.GetSubjectAltNames()) > 0 {
			names = t.GetSubjectAltNames()
		}
		c.TransportSocket = clientSocket(b.Mesh, sni, names, b.meshALPN())
		b.peerExchange(c)
	case t.Mode == networking.ClientTLSSettings_SIMPLE, t.Mode == networking.ClientTLSSettings_MUTUAL:
		b.originate(c, t)
	}
	b.proxyProtocol(c)
}

// autoMTLS uses mTLS towards the endpoints that announce it. Where the client
// chooses the address there is no metadata to look at: then all must announce it.
func (b *clusterBuilder) autoMTLS(c *clusterv3.Cluster) {
	if c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		if b.allAnnounceMTLS() {
			c.TransportSocket = clientSocket(b.Mesh, sniName(b.Port.Number, b.Subset, b.Service.Host), b.identities(), b.meshALPN())
			b.peerExchange(c)
		}
		return
	}
	sni := sniName(b.Port.Number, b.Subset, b.Service.Host)
	c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
		{
			Name: "tlsMode-" + mesh.TLSModeIstio, Match: object(map[string]any{tlsModeKey: mesh.TLSModeIstio}),
			TransportSocket: clientSocket(b.Mesh, sni, b.identities(), b.meshALPN()),
		},
		{Name: "tlsMode-" + mesh.TLSModeDisabled, Match: object(nil), TransportSocket: plainSocket()},
	}
	b.peerExchange(c)
}

func (b *clusterBuilder) allAnnounceMTLS() bool {
	for _, e := range b.Endpoints {
		if e.TLSMode != mesh.TLSModeIstio {
			return false
		}
	}
	return len(b.Endpoints) > 0
}

func (b *clusterBuilder) meshALPN() []string {
	alpn := []string{peerExchange, "istio"}
	if b.Port.Protocol.IsHTTP2() {
		alpn = append(alpn, "h2")
	}
	return alpn
}

// peerExchange lets TCP connections exchange metadata; only the native proxy can.
func (b *clusterBuilder) peerExchange(c *clusterv3.Cluster) {
	if b.Dialect == mesh.DialectNative && !b.Port.Protocol.IsHTTP() {
		c.Filters = []*clusterv3.Filter{{Name: filterPeerExchange, TypedConfig: peerExchangeConfig()}}
	}
}

// originate encrypts connections to endpoints outside the mesh.
func (b *clusterBuilder) originate(c *clusterv3.Cluster, t *networking.ClientTLSSettings) {
	ctx := &tlsv3.UpstreamTlsContext{Sni: t.GetSni(), CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
	}}
	switch {
	case b.Port.Protocol.IsHTTP2():
		ctx.CommonTlsContext.AlpnProtocols = []string{"h2"}
	case b.Port.Protocol.IsHTTP():
		ctx.CommonTlsContext.AlpnProtocols = []string{"http/1.1"}
	}
	names := t.GetSubjectAltNames()
	if len(names) == 0 {
		names = b.Service.SubjectAltNames
	}
	if t.GetSni() == "" {
		b.http.autoSNI = true
		b.http.autoNames = len(names) == 0 && !t.GetInsecureSkipVerify().GetValue()
		if !b.Port.Protocol.IsHTTP() && !mesh.IsWildcard(b.Service.Host) {
			// Without requests there is no authority to take the name from.
			ctx.Sni, b.http.autoSNI, b.http.autoNames = b.Service.Host, false, false
		}
		b.http.apply(c)
	}
	b.ownCertificate(ctx.CommonTlsContext, t)
	if b.ClientCertificate != "" && b.Service.BackendTLS[b.Port.Number] != nil {
		ctx.CommonTlsContext.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{meshSecret(SecretName(b.ClientCertificate, false))}
	}
	b.verification(ctx.CommonTlsContext, t, names)
	c.TransportSocket = socket(tlsSocket, ctx)
}

// ownCertificate is what a MUTUAL client shows.
func (b *clusterBuilder) ownCertificate(c *tlsv3.CommonTlsContext, t *networking.ClientTLSSettings) {
	if t.Mode != networking.ClientTLSSettings_MUTUAL {
		return
	}
	switch {
	case t.GetCredentialName() != "":
		if b.credentialsAllowed(t) {
			c.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{meshSecret(SecretName(t.GetCredentialName(), false))}
		}
	case t.GetClientCertificate() != "" && t.GetPrivateKey() != "":
		c.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(t.GetClientCertificate()), PrivateKey: file(t.GetPrivateKey())}}
	default:
		b.refuse = true
		b.add(codeBadCertificate, b.source, "spec.trafficPolicy.tls", "connections to "+b.Service.Host+" are refused",
			"give credentialName, or clientCertificate and privateKey", "mode MUTUAL without a client certificate")
	}
}

func (b *clusterBuilder) credentialsAllowed(t *networking.ClientTLSSettings) bool {
	if b.Credentials {
		return true
	}
	b.refuse = true
	b.add(codeUnsupported, b.source, "spec.trafficPolicy.tls.credentialName", "connections of sidecars to "+b.Service.Host+" are refused",
		"give the rule a workloadSelector, or use certificate files", "credentialName %q is for gateways, and for sidecars that a workloadSelector names", t.GetCredentialName())
	return false
}

// verification says whom the client trusts: a bundle, else the system's.
func (b *clusterBuilder) verification(c *tlsv3.CommonTlsContext, t *networking.ClientTLSSettings, names []string) {
	v := anyNames(names)
	if t.GetInsecureSkipVerify().GetValue() {
		v = &tlsv3.CertificateValidationContext{TrustChainVerification: tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED}
	}
	if f := t.GetCaCrl(); f != "" {
		v.Crl = file(f)
	}
	switch {
	case t.GetCredentialName() != "":
		if b.credentialsAllowed(t) {
			c.ValidationContextType = combined(meshSecret(SecretName(t.GetCredentialName(), true)), v)
		}
		return
	case t.GetCaCertificates() != "" && t.GetCaCertificates() != "system":
		v.TrustedCa = file(t.GetCaCertificates())
		if strings.HasPrefix(t.GetCaCertificates(), "-----BEGIN ") { // the text itself (mesh.BackendTLS)
			v.TrustedCa = inline([]byte(t.GetCaCertificates()))
		}
	case !t.GetInsecureSkipVerify().GetValue():
		v.SystemRootCerts = &tlsv3.CertificateValidationContext_SystemRootCerts{}
	}
	c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

// proxyProtocol tells the endpoint who the client is, before anything else.
func (b *clusterBuilder) proxyProtocol(c *clusterv3.Cluster) {
	p := b.policy.GetProxyProtocol()
	if p == nil {
		return
	}
	v := corev3.ProxyProtocolConfig_V1
	if strings.EqualFold(p.GetVersion().String(), "V2") {
		v = corev3.ProxyProtocolConfig_V2
	}
	wrap := func(s *corev3.TransportSocket) *corev3.TransportSocket {
		if s == nil {
			s = plainSocket()
		}
		return socket("envoy.transport_sockets.upstream_proxy_protocol", &proxyprotov3.ProxyProtocolUpstreamTransport{
			Config: &corev3.ProxyProtocolConfig{Version: v}, TransportSocket: s,
		})
	}
	c.TransportSocket = wrap(c.TransportSocket)
	for _, m := range c.TransportSocketMatches {
		m.TransportSocket = wrap(m.TransportSocket)
	}
}
