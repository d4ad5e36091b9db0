package xdsgen

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// serverTLS makes the transport socket of a server that users describe: of a
// Gateway, or of a Sidecar's ingress.
type serverTLS struct {
	Common
	*findings
	source source
	field  string // path of the settings
	// files: certificates may be given by file; that is always allowed, credential
	// names only on gateways.
	files bool
	http  bool
	// unverified: clients are served whatever certificate they show.
	unverified bool
}

// socket is the transport socket; ok is false when the settings cannot be
// honoured, and the server must not be opened.
func (t serverTLS) socket(s *networking.ServerTLSSettings) (out *corev3.TransportSocket, ok bool) {
	if s.GetMode() == networking.ServerTLSSettings_ISTIO_MUTUAL {
		return serverSocket(t.Mesh, t.alpn()...), true
	}
	c := &tlsv3.CommonTlsContext{AlpnProtocols: t.alpn(), TlsParams: t.params(s)}
	if !t.certificates(c, s) {
		return nil, false
	}
	ctx := &tlsv3.DownstreamTlsContext{CommonTlsContext: c, RequireClientCertificate: boolean(false)}
	switch s.GetMode() {
	case networking.ServerTLSSettings_SIMPLE:
	case networking.ServerTLSSettings_MUTUAL, networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		ctx.RequireClientCertificate = boolean(s.GetMode() == networking.ServerTLSSettings_MUTUAL)
		if !t.clients(c, s) {
			return nil, false
		}
	default:
		t.add(codeUnsupported, t.source, t.field+".mode", "the server is not opened", "use SIMPLE, MUTUAL, OPTIONAL_MUTUAL, ISTIO_MUTUAL or PASSTHROUGH",
			"TLS mode %s is not supported", s.GetMode())
		return nil, false
	}
	return socket(tlsSocket, ctx), true
}

func (t serverTLS) alpn() []string {
	if t.http {
		return []string{"h2", "http/1.1"}
	}
	return nil
}

// certificates are what the server shows.
func (t serverTLS) certificates(c *tlsv3.CommonTlsContext, s *networking.ServerTLSSettings) bool {
	for _, n := range credentials(s) {
		if t.files {
			t.add(codeUnsupported, t.source, t.field+".credentialName", "the port is not opened", "use certificate files", "credentialName is for gateways only")
			return false
		}
		c.TlsCertificateSdsSecretConfigs = append(c.TlsCertificateSdsSecretConfigs, meshSecret(SecretName(n, false)))
	}
	if len(c.TlsCertificateSdsSecretConfigs) > 0 {
		return true
	}
	files := s.GetTlsCertificates()
	if s.GetServerCertificate() != "" {
		files = []*networking.ServerTLSSettings_TLSCertificate{{ServerCertificate: s.GetServerCertificate(), PrivateKey: s.GetPrivateKey()}}
	}
	for _, f := range files {
		c.TlsCertificates = append(c.TlsCertificates, &tlsv3.TlsCertificate{CertificateChain: file(f.GetServerCertificate()), PrivateKey: file(f.GetPrivateKey())})
	}
	if len(c.TlsCertificates) == 0 {
		t.add(codeBadCertificate, t.source, t.field, "the server is not opened", "give credentialName, or serverCertificate and privateKey", "a TLS server without a certificate")
		return false
	}
	return true
}

// credentials are the names of the certificates, of which a server may have one
// for each kind of key.
func credentials(s *networking.ServerTLSSettings) []string {
	if n := s.GetCredentialNames(); len(n) > 0 {
		return n
	}
	if s.GetCredentialName() != "" {
		return []string{s.GetCredentialName()}
	}
	return nil
}

// caCredential is the secret that verifies clients.
func caCredential(s *networking.ServerTLSSettings) string {
	if n := s.GetCaCertCredentialName(); n != "" {
		return SecretName(n, true)
	}
	if l := credentials(s); len(l) > 0 {
		return SecretName(l[0], true)
	}
	return ""
}

// clients says whose certificates are accepted.
func (t serverTLS) clients(c *tlsv3.CommonTlsContext, s *networking.ServerTLSSettings) bool {
	v := anyNames(s.GetSubjectAltNames())
	v.VerifyCertificateSpki, v.VerifyCertificateHash = s.GetVerifyCertificateSpki(), s.GetVerifyCertificateHash()
	if f := s.GetCaCrl(); f != "" {
		v.Crl = file(f)
	}
	if s.GetMode() == networking.ServerTLSSettings_OPTIONAL_MUTUAL {
		v.TrustChainVerification = tlsv3.CertificateValidationContext_VERIFY_TRUST_CHAIN
	}
	if t.unverified {
		v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	}
	switch name := caCredential(s); {
	case s.GetCaCertificates() != "":
		v.TrustedCa = file(s.GetCaCertificates())
		c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	case name != "":
		c.ValidationContextType = combined(meshSecret(name), v)
	default:
		t.add(codeBadCertificate, t.source, t.field, "the server is not opened", "give caCertificates, or a credentialName with a CA", "clients are to be verified and there is no CA")
		return false
	}
	return true
}

// params are versions, ciphers and curves.
func (t serverTLS) params(s *networking.ServerTLSSettings) *tlsv3.TlsParameters {
	version := map[networking.ServerTLSSettings_TLSProtocol]tlsv3.TlsParameters_TlsProtocol{
		networking.ServerTLSSettings_TLSV1_0: tlsv3.TlsParameters_TLSv1_0, networking.ServerTLSSettings_TLSV1_1: tlsv3.TlsParameters_TLSv1_1,
		networking.ServerTLSSettings_TLSV1_2: tlsv3.TlsParameters_TLSv1_2, networking.ServerTLSSettings_TLSV1_3: tlsv3.TlsParameters_TLSv1_3,
	}
	p := &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: version[s.GetMinProtocolVersion()], TlsMaximumProtocolVersion: version[s.GetMaxProtocolVersion()],
		EcdhCurves: t.Mesh.GetTlsDefaults().GetEcdhCurves(),
	}
	if p.TlsMinimumProtocolVersion == tlsv3.TlsParameters_TLS_AUTO {
		p.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_2
	}
	if m := p.TlsMaximumProtocolVersion; m != tlsv3.TlsParameters_TLS_AUTO && m < p.TlsMinimumProtocolVersion {
		t.warn(codeBadValue, t.source, t.field+".maxProtocolVersion", "the maximum is not applied", "raise it", "the maximum TLS version is below the minimum")
		p.TlsMaximumProtocolVersion = tlsv3.TlsParameters_TLS_AUTO
	}
	for _, c := range s.GetCipherSuites() {
		if !slices.Contains(knownCiphers(), c) {
			t.warn(codeBadValue, t.source, t.field+".cipherSuites", "the cipher suite is not offered", "remove it", "cipher suite %q is not known", c)
			continue
		}
		p.CipherSuites = append(p.CipherSuites, c)
	}
	return p
}

// knownCiphers are the suites of TLS 1.2 that both data planes have.
func knownCiphers() []string {
	return []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
	}
}
