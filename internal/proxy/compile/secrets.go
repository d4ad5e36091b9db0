package compile

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// secret compiles an SDS resource.
func (c *Compiler) secret(m *tlsv3.Secret) (*snapshot.Secret, error) {
	switch s := m.Type.(type) {
	case *tlsv3.Secret_TlsCertificate:
		out, err := c.certificate(m.Name, s.TlsCertificate)
		return out, in("tls_certificate", err)
	case *tlsv3.Secret_ValidationContext:
		v, err := c.validation(s.ValidationContext)
		if err != nil {
			return nil, in("validation_context", err)
		}
		if len(v.CAs) == 0 && len(v.TrustDomains) == 0 {
			return nil, in("validation_context.trusted_ca", errors.New("no certificate"))
		}
		return validationSecret(m.Name, v), nil
	case *tlsv3.Secret_SessionTicketKeys:
		out := &snapshot.Secret{Name: m.Name}
		for i, k := range s.SessionTicketKeys.GetKeys() {
			b, err := c.dataSource(k, maxPEMBytes)
			if err != nil {
				return nil, in("session_ticket_keys", at("keys", i, err))
			}
			// Envoy's keys have 80 bytes; crypto/tls derives all it needs from 32.
			out.TicketKeys = append(out.TicketKeys, sha256.Sum256(b))
		}
		return out, nil
	case *tlsv3.Secret_GenericSecret:
		b, err := c.dataSource(s.GenericSecret.GetSecret(), maxPEMBytes)
		if err != nil {
			return nil, in("generic_secret.secret", err)
		}
		return &snapshot.Secret{Name: m.Name, Generic: b, Digest: digest(b)}, nil
	default:
		return nil, errors.New("empty secret")
	}
}

// certificate reads chain and key and checks that they belong together. An
// expired certificate is taken: its use fails at the peer, with a clear reason.
func (c *Compiler) certificate(name string, m *tlsv3.TlsCertificate) (*snapshot.Secret, error) {
	chain, err := c.dataSource(m.CertificateChain, maxPEMBytes)
	if err != nil {
		return nil, in("certificate_chain", err)
	}
	k, err := c.dataSource(m.PrivateKey, maxPEMBytes)
	if err != nil {
		return nil, in("private_key", err)
	}
	cert, err := tls.X509KeyPair(chain, k)
	if err != nil {
		return nil, err // names the half that is wrong, never its content
	}
	if m.OcspStaple != nil {
		if cert.OCSPStaple, err = c.dataSource(m.OcspStaple, maxPEMBytes); err != nil {
			return nil, in("ocsp_staple", err)
		}
	}
	s := &snapshot.Secret{Name: name, Certificate: &cert, Digest: digest(chain, k)}
	for i, der := range cert.Certificate {
		x := cert.Leaf
		if i > 0 {
			if x, err = x509.ParseCertificate(der); err != nil {
				return nil, in("certificate_chain", fmt.Errorf("certificate %d: %w", i, err))
			}
		}
		narrow(s, x)
	}
	return s, nil
}

// narrow keeps the tightest validity.
func narrow(s *snapshot.Secret, x *x509.Certificate) {
	if s.NotBefore.Before(x.NotBefore) {
		s.NotBefore = x.NotBefore
	}
	if s.NotAfter.IsZero() || x.NotAfter.Before(s.NotAfter) {
		s.NotAfter = x.NotAfter
	}
}

// validation reads a validation context.
func (c *Compiler) validation(m *tlsv3.CertificateValidationContext) (*snapshot.Validation, error) {
	v := &snapshot.Validation{
		CRLLeafOnly: m.GetOnlyVerifyLeafCertCrl(), AllowExpired: m.GetAllowExpiredCertificate(), MaxDepth: u32(m.GetMaxVerifyDepth(), 0),
	}
	var err error
	if v.SANs, err = c.sanMatches(m); err != nil {
		return nil, err
	}
	if v.SPKI, err = pins("verify_certificate_spki", m.GetVerifyCertificateSpki(), false); err != nil {
		return nil, err
	}
	if v.Hashes, err = pins("verify_certificate_hash", m.GetVerifyCertificateHash(), true); err != nil {
		return nil, err
	}
	if m.GetTrustedCa() != nil {
		b, err := c.dataSource(m.TrustedCa, maxPEMBytes)
		if err != nil {
			return nil, in("trusted_ca", err)
		}
		if v.CAs, err = parsePEM(b); err != nil {
			return nil, in("trusted_ca", err)
		}
		v.Roots = x509.NewCertPool()
		for _, x := range v.CAs {
			v.Roots.AddCert(x)
		}
	}
	if m.GetCustomValidatorConfig() != nil {
		if err := c.spiffeValidator(v, m.CustomValidatorConfig); err != nil {
			return nil, in("custom_validator_config", err)
		}
	}
	if m.GetCrl() != nil {
		b, err := c.dataSource(m.Crl, maxPEMBytes)
		if err != nil {
			return nil, in("crl", err)
		}
		if v.CRL, err = parseCRL(b); err != nil {
			return nil, in("crl", err)
		}
	}
	return v, nil
}

// spiffeValidator reads the bundles per trust domain.
func (c *Compiler) spiffeValidator(v *snapshot.Validation, e *corev3.TypedExtensionConfig) error {
	m, err := c.unpack(e.GetTypedConfig())
	if err != nil {
		return in("typed_config", err)
	}
	s, ok := m.(*tlsv3.SPIFFECertValidatorConfig)
	if !ok {
		return unsupported("certificate validator %q", e.GetName())
	}
	v.TrustDomains = map[string]*x509.CertPool{}
	for i, d := range s.TrustDomains {
		b, err := c.dataSource(d.TrustBundle, maxPEMBytes)
		if err != nil {
			return in("typed_config", at("trust_domains", i, err))
		}
		cas, err := parsePEM(b)
		if err != nil {
			return in("typed_config", at("trust_domains", i, err))
		}
		pool := x509.NewCertPool()
		for _, x := range cas {
			pool.AddCert(x)
		}
		v.CAs = append(v.CAs, cas...)
		v.TrustDomains[d.Name] = pool
	}
	return nil
}

func validationSecret(name string, v *snapshot.Validation) *snapshot.Secret {
	s := &snapshot.Secret{Name: name, Validation: v}
	h := sha256.New()
	for _, x := range v.CAs {
		h.Write(x.Raw)
		narrow(s, x)
	}
	for d := range v.TrustDomains {
		h.Write([]byte(d))
	}
	s.Digest = [8]byte(h.Sum(nil))
	return s
}

func parsePEM(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var p *pem.Block
		if p, b = pem.Decode(b); p == nil {
			break
		}
		if p.Type != "CERTIFICATE" {
			continue
		}
		x, err := x509.ParseCertificate(p.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out), err)
		}
		out = append(out, x)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	return out, nil
}

func parseCRL(b []byte) ([]*x509.RevocationList, error) {
	var out []*x509.RevocationList
	for {
		var p *pem.Block
		if p, b = pem.Decode(b); p == nil {
			break
		}
		l, err := x509.ParseRevocationList(p.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, errors.New("no revocation list in PEM form")
	}
	return out, nil
}

// dataSource reads bytes given inline, by environment, or by file where allowed.
func (c *Compiler) dataSource(d *corev3.DataSource, limit int) (b []byte, err error) {
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineBytes:
		b = s.InlineBytes
	case *corev3.DataSource_InlineString:
		b = []byte(s.InlineString)
	case *corev3.DataSource_EnvironmentVariable:
		v, ok := os.LookupEnv(s.EnvironmentVariable)
		if !ok {
			return nil, in("environment_variable", fmt.Errorf("%s is not set", s.EnvironmentVariable))
		}
		b = []byte(v)
	case *corev3.DataSource_Filename:
		if c.opts.ReadFile == nil {
			return nil, in("filename", errors.New("unsupported: files are not read in configuration from a server"))
		}
		if b, err = c.opts.ReadFile(s.Filename); err != nil {
			return nil, in("filename", err)
		}
	default:
		return nil, errors.New("no data")
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%d bytes, at most %d", len(b), limit)
	}
	return b, nil
}

func digest(parts ...[]byte) [8]byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return [8]byte(h.Sum(nil))
}

// inline registers a secret given in place and gives its generated name.
func (c *Compiler) inline(s *snapshot.Secret) string {
	s.Name = c.str("inline:" + hex.EncodeToString(s.Digest[:]))
	c.deps.inline = append(c.deps.inline, s)
	return s.Name
}

// Expired reports whether a secret is outside its validity at t.
func Expired(s *snapshot.Secret, t time.Time) bool {
	return !s.NotAfter.IsZero() && (t.After(s.NotAfter) || t.Before(s.NotBefore))
}
