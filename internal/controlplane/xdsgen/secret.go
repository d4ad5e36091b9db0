package xdsgen

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

const (
	secretScheme = "kubernetes://"
	caSuffix     = "-cacert"
)

// SecretName is the name under which the control plane serves a credentialName:
// its certificate, or the CA by which peers are verified.
func SecretName(credential string, ca bool) string {
	name := credential
	if !strings.Contains(name, "://") {
		name = secretScheme + name
	}
	if ca && !strings.HasSuffix(name, caSuffix) {
		name += caSuffix
	}
	return name
}

// ParseSecretName reads a name that a proxy asks for; namespace is "" when the
// proxy's own is meant. ok is false for names of another scheme.
func ParseSecretName(name string) (namespace, credential string, ca, ok bool) {
	rest, ok := strings.CutPrefix(name, secretScheme)
	if !ok {
		rest, ok = strings.CutPrefix(name, "kubernetes-gateway://")
	}
	if !ok || rest == "" {
		return "", "", false, false
	}
	if ns, n, two := strings.Cut(rest, "/"); two {
		namespace, rest = ns, n
	}
	credential, ca = strings.CutSuffix(rest, caSuffix)
	return namespace, credential, ca, credential != "" && !strings.Contains(credential, "/")
}

// Secret makes a certificate, or the CA of one, ready for SDS.
func Secret(in SecretInput) (*tlsv3.Secret, error) {
	c := in.Certificate
	if c == nil {
		return nil, fmt.Errorf("secret %s: not found", in.Name)
	}
	out := &tlsv3.Secret{Name: in.Name}
	if strings.HasSuffix(in.Name, caSuffix) {
		if len(c.CA) == 0 {
			return nil, fmt.Errorf("secret %s: %s has no CA (ca.crt or cacert)", in.Name, c)
		}
		v := &tlsv3.CertificateValidationContext{TrustedCa: inline(c.CA)}
		if len(c.CRL) > 0 {
			v.Crl = inline(c.CRL)
		}
		out.Type = &tlsv3.Secret_ValidationContext{ValidationContext: v}
		return out, nil
	}
	if len(c.Chain) == 0 || len(c.Key) == 0 {
		return nil, fmt.Errorf("secret %s: %w", in.Name, errors.Join(missing(c.Chain, "tls.crt"), missing(c.Key, "tls.key")))
	}
	t := &tlsv3.TlsCertificate{CertificateChain: inline(c.Chain), PrivateKey: inline(c.Key)}
	if len(c.OCSP) > 0 {
		t.OcspStaple = inline(c.OCSP)
	}
	out.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: t}
	return out, nil
}

func missing(b []byte, what string) error {
	if len(b) > 0 {
		return nil
	}
	return fmt.Errorf("%s is missing", what)
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
