package compile

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func (c *Compiler) serverTLS(m *tlsv3.DownstreamTlsContext) (*snapshot.ServerTLS, error) {
	p, err := c.tlsParams(m.CommonTlsContext, tls.VersionTLS12)
	if err != nil {
		return nil, in("common_tls_context", err)
	}
	if len(p.Certificates) == 0 {
		return nil, in("common_tls_context", errors.New("a server needs a certificate"))
	}
	out := &snapshot.ServerTLS{
		TLSParams: p, RequireClientCert: boolean(m.RequireClientCertificate, false), RequireSNI: boolean(m.RequireSni, false),
		NoResumption: m.DisableStatefulSessionResumption, PreferClientCiphers: m.PreferClientCiphers,
	}
	if out.RequireClientCert && p.Validation == "" && !p.SystemRoots {
		return nil, in("require_client_certificate", errors.New("there is no validation context to verify client certificates with"))
	}
	switch s := m.SessionTicketKeysType.(type) {
	case nil:
	case *tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption:
		out.NoTickets = s.DisableStatelessSessionResumption
	default:
		return nil, unsupported("session ticket keys %T", s)
	}
	if m.OcspStaplePolicy != tlsv3.DownstreamTlsContext_LENIENT_STAPLING {
		return nil, in("ocsp_staple_policy", unsupported("policy %v", m.OcspStaplePolicy))
	}
	out.SessionTimeout, err = dur(m.SessionTimeout, 0)
	return out, in("session_timeout", err)
}

func (c *Compiler) clientTLS(m *tlsv3.UpstreamTlsContext) (*snapshot.ClientTLS, error) {
	p, err := c.tlsParams(m.CommonTlsContext, tls.VersionTLS12)
	if err != nil {
		return nil, in("common_tls_context", err)
	}
	return &snapshot.ClientTLS{
		TLSParams: p, SNI: c.str(m.Sni), AutoHostSNI: m.AutoHostSni, AutoSNISAN: m.AutoSniSanValidation,
		Insecure:         p.Validation == "" && !p.SystemRoots,
		AllowRenegotiate: m.AllowRenegotiation, MaxSessions: u32(m.MaxSessionKeys, 1), EnforceRSAKeyUse: boolean(m.EnforceRsaKeyUsage, false),
	}, nil
}

func (c *Compiler) tlsParams(m *tlsv3.CommonTlsContext, minVersion uint16) (*snapshot.TLSParams, error) {
	p := &snapshot.TLSParams{ALPN: m.GetAlpnProtocols()}
	for _, a := range p.ALPN {
		if len(a) == 0 || len(a) > 255 {
			return nil, in("alpn_protocols", fmt.Errorf("protocol of %d bytes", len(a)))
		}
	}
	if err := tlsVersions(p, m.GetTlsParams(), minVersion); err != nil {
		return nil, in("tls_params", err)
	}
	for i, s := range m.GetTlsCertificateSdsSecretConfigs() {
		name, err := c.secretRef(s)
		if err != nil {
			return nil, at("tls_certificate_sds_secret_configs", i, err)
		}
		p.Certificates = append(p.Certificates, name)
	}
	for i, t := range m.GetTlsCertificates() {
		s, err := c.certificate("", t)
		if err != nil {
			return nil, at("tls_certificates", i, err)
		}
		p.Certificates = append(p.Certificates, c.inline(s))
	}
	var err error
	switch v := m.GetValidationContextType().(type) {
	case nil:
	case *tlsv3.CommonTlsContext_ValidationContext:
		err = in("validation_context", c.validationParams(p, v.ValidationContext))
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		p.Validation, err = c.secretRef(v.ValidationContextSdsSecretConfig)
		err = in("validation_context_sds_secret_config", err)
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		d := v.CombinedValidationContext
		if err = in("combined_validation_context.default_validation_context", c.validationParams(p, d.GetDefaultValidationContext())); err != nil {
			return nil, err
		}
		p.Validation, err = c.secretRef(d.GetValidationContextSdsSecretConfig())
		err = in("combined_validation_context.validation_context_sds_secret_config", err)
	default:
		err = unsupported("validation context %T", v)
	}
	if err != nil {
		return nil, err
	}
	return c.shareTLS(p), nil
}

// secretRef is the name of a secret that comes by SDS.
func (c *Compiler) secretRef(s *tlsv3.SdsSecretConfig) (string, error) {
	if s.GetName() == "" {
		return "", in("name", errors.New("empty"))
	}
	name := c.str(s.Name)
	c.deps.secrets.add(name)
	return name, nil
}

// validationParams takes over conditions; a bundle becomes an inline secret.
func (c *Compiler) validationParams(p *snapshot.TLSParams, m *tlsv3.CertificateValidationContext) error {
	v, err := c.validation(m)
	if err != nil {
		return err
	}
	p.SANs, p.SPKI, p.Hashes = v.SANs, v.SPKI, v.Hashes
	p.CRL, p.CRLLeafOnly, p.AllowExpired, p.MaxDepth = v.CRL, v.CRLLeafOnly, v.AllowExpired, v.MaxDepth
	p.AllowUntrusted = m.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	p.SystemRoots = m.GetSystemRootCerts() != nil
	if len(v.CAs) > 0 || len(v.TrustDomains) > 0 {
		// The conditions are p's now; the bundle may be shared with contexts that have others.
		bundle := &snapshot.Validation{Roots: v.Roots, CAs: v.CAs, TrustDomains: v.TrustDomains}
		p.Validation = c.inline(validationSecret("", bundle))
	}
	if p.Validation == "" && !p.SystemRoots && len(p.SPKI)+len(p.Hashes) > 0 {
		return unsupported("pinned certificates without a trusted CA")
	}
	return nil
}

func tlsVersions(p *snapshot.TLSParams, m *tlsv3.TlsParameters, minVersion uint16) error {
	version := func(v tlsv3.TlsParameters_TlsProtocol, auto uint16) (uint16, error) {
		switch v {
		case tlsv3.TlsParameters_TLS_AUTO:
			return auto, nil
		case tlsv3.TlsParameters_TLSv1_0:
			return tls.VersionTLS10, nil
		case tlsv3.TlsParameters_TLSv1_1:
			return tls.VersionTLS11, nil
		case tlsv3.TlsParameters_TLSv1_2:
			return tls.VersionTLS12, nil
		case tlsv3.TlsParameters_TLSv1_3:
			return tls.VersionTLS13, nil
		default:
			return 0, fmt.Errorf("unknown version %v", v)
		}
	}
	var err error
	if p.MinVersion, err = version(m.GetTlsMinimumProtocolVersion(), minVersion); err != nil {
		return in("tls_minimum_protocol_version", err)
	}
	if p.MaxVersion, err = version(m.GetTlsMaximumProtocolVersion(), tls.VersionTLS13); err != nil {
		return in("tls_maximum_protocol_version", err)
	}
	if p.MaxVersion < p.MinVersion {
		return errors.New("the maximum version is below the minimum")
	}
	for i, name := range m.GetCipherSuites() {
		ids, err := cipher(name)
		if err != nil {
			return at("cipher_suites", i, err)
		}
		p.Ciphers = append(p.Ciphers, ids...)
	}
	for i, name := range m.GetEcdhCurves() {
		id, ok := map[string]tls.CurveID{
			"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521,
			"prime256v1": tls.CurveP256, "secp384r1": tls.CurveP384, "secp521r1": tls.CurveP521, "X25519MLKEM768": tls.X25519MLKEM768,
		}[name]
		if !ok {
			return at("ecdh_curves", i, unsupported("curve %q", name))
		}
		p.Curves = append(p.Curves, id)
	}
	return nil
}

// cipher gives the suites of a name in OpenSSL's form; [A|B] is a group of
// equal preference. Suites Go does not have at any cost are refused.
func cipher(name string) ([]uint16, error) {
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		var out []uint16
		for n := range strings.SplitSeq(name[1:len(name)-1], "|") {
			ids, err := cipher(n)
			if err != nil {
				return nil, err
			}
			out = append(out, ids...)
		}
		return out, nil
	}
	suites := map[string]uint16{
		"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
		"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	}
	id, ok := suites[name]
	if !ok {
		return nil, unsupported("cipher suite %q", name)
	}
	return []uint16{id}, nil
}

func (c *Compiler) sanMatches(m *tlsv3.CertificateValidationContext) ([]snapshot.SANMatch, error) {
	var out []snapshot.SANMatch
	for i, s := range m.GetMatchTypedSubjectAltNames() {
		types := map[tlsv3.SubjectAltNameMatcher_SanType]snapshot.SANType{
			tlsv3.SubjectAltNameMatcher_EMAIL: snapshot.SANEmail, tlsv3.SubjectAltNameMatcher_DNS: snapshot.SANDNS,
			tlsv3.SubjectAltNameMatcher_URI: snapshot.SANURI, tlsv3.SubjectAltNameMatcher_IP_ADDRESS: snapshot.SANIP,
		}
		t, ok := types[s.SanType]
		if !ok {
			return nil, at("match_typed_subject_alt_names", i, unsupported("san_type %v", s.SanType))
		}
		v, err := c.stringMatch(s.Matcher)
		if err != nil {
			return nil, at("match_typed_subject_alt_names", i, in("matcher", err))
		}
		out = append(out, snapshot.SANMatch{Type: t, StringMatch: v})
	}
	for i, s := range deprecatedSANs(m) {
		v, err := c.stringMatch(s)
		if err != nil {
			return nil, at("match_subject_alt_names", i, err)
		}
		out = append(out, snapshot.SANMatch{Type: snapshot.SANAny, StringMatch: v})
	}
	return out, nil
}

// deprecatedSANs are still sent by Istio.
func deprecatedSANs(m *tlsv3.CertificateValidationContext) []*matcherv3.StringMatcher {
	return m.GetMatchSubjectAltNames() //nolint:staticcheck // see above
}

// pins reads SHA-256 digests: base64 for keys, hex (colons allowed) for certificates.
func pins(field string, l []string, isHex bool) ([][32]byte, error) {
	var out [][32]byte
	for i, s := range l {
		var b []byte
		var err error
		if isHex {
			b, err = hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		} else {
			b, err = base64.StdEncoding.DecodeString(s)
		}
		if err == nil && len(b) != 32 {
			err = fmt.Errorf("%d bytes, want 32", len(b))
		}
		if err != nil {
			return nil, at(field, i, err)
		}
		out = append(out, [32]byte(b))
	}
	return out, nil
}

// transportSocket is what a transport_socket compiles to: at most one is set.
type transportSocket struct {
	server        *snapshot.ServerTLS
	client        *snapshot.ClientTLS
	proxyProtocol uint8
}

// socket compiles a transport socket of a listener (server) or cluster.
func (c *Compiler) socket(s *corev3.TransportSocket, server bool) (out transportSocket, err error) {
	if s == nil {
		return out, nil
	}
	if s.GetTypedConfig() == nil && s.Name == "envoy.transport_sockets.raw_buffer" {
		return out, nil
	}
	m, err := c.unpack(s.GetTypedConfig())
	if err != nil {
		return out, in("typed_config", err)
	}
	switch m := m.(type) {
	case *tlsv3.DownstreamTlsContext:
		if server {
			out.server, err = c.serverTLS(m)
			return out, in("typed_config", err)
		}
	case *tlsv3.UpstreamTlsContext:
		if !server {
			out.client, err = c.clientTLS(m)
			return out, in("typed_config", err)
		}
	default:
		if done, err := c.plainSocket(&out, m, server); done || err != nil {
			return out, in("typed_config", err)
		}
	}
	return out, unsupported("transport socket %q (%s) here", s.Name, s.GetTypedConfig().GetTypeUrl())
}
