package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(4e9, 0), IsCA: true,
		BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k))
	kb := must(x509.MarshalPKCS8PrivateKey(k))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
}

func inlineBytes(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

func certificate(name string, cert, key []byte) Raw {
	return raw(name, &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inlineBytes(cert), PrivateKey: inlineBytes(key),
	}}})
}

func bundle(name string, b []byte) Raw {
	return raw(name, &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
		TrustedCa: inlineBytes(b),
	}}})
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	_, other := pair(t)
	c := newCompiler(t)
	set(t, c, TypeSecret, certificate("default", cert, key), bundle("ROOTCA", cert))
	s := c.Snapshot()
	if d := s.Secrets["default"]; d.Certificate == nil || d.NotAfter.Unix() != 4e9 || !Expired(d, time.Unix(5e9, 0)) || Expired(d, time.Unix(2e9, 0)) {
		t.Fatalf("%+v", d)
	}
	if v := s.Secrets["ROOTCA"].Validation; v == nil || len(v.CAs) != 1 || v.Roots == nil {
		t.Fatalf("%+v", v)
	}
	for name, r := range map[string]Raw{
		"does not match":                certificate("x", cert, other),
		"certificate_chain: no data":    raw("x", &tlsv3.Secret{Name: "x", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{}}}),
		"no certificate in PEM form":    bundle("x", []byte("hello")),
		"no certificate":                bundle("x", key),
		"empty secret":                  raw("x", &tlsv3.Secret{Name: "x"}),
		"files are not read":            raw("x", &tlsv3.Secret{Name: "x", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "/etc/passwd"}}}}}),
		"validation_context.trusted_ca": raw("x", &tlsv3.Secret{Name: "x", Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{}}}),
	} {
		errs := c.Apply(Update{TypeURL: TypeSecret, Set: []Raw{r}})
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), name) {
			t.Errorf("%s: got %v", name, errs)
		} else if strings.Contains(errs[0].Error(), "PRIVATE") {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	if out := snapshot.Dump(s); strings.Contains(out, "PrivateKey") || !strings.Contains(out, `secret "default" certificate=true`) {
		t.Error(out)
	}
}

// TestInlineSecretsLiveAsLongAsTheirUsers: certificates given in a listener.
func TestInlineSecretsLiveAsLongAsTheirUsers(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	indent := func(b []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "\\n") }
	text := `static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: "` +
		indent(cert) + `"}, private_key: {inline_string: "` + indent(key) + `"}}], validation_context: {trusted_ca: {inline_string: "` + indent(cert) + `"}}}}}}]}]}`
	c := newCompiler(t)
	s := apply(t, c, []byte(text))
	if len(s.Secrets) != 2 || len(s.Listeners) != 1 || !s.Missing.Empty() {
		t.Fatal(snapshot.Dump(s))
	}
	p := s.Listeners[0].Chains[0].TLS
	if s.Secrets[p.Certificates[0]].Certificate == nil || s.Secrets[p.Validation].Validation == nil {
		t.Fatal("secrets not found by name")
	}
	c.Apply(Update{TypeURL: TypeListener, Removed: []string{"l"}})
	if s = c.Snapshot(); len(s.Secrets) != 0 {
		t.Fatal("left behind:", snapshot.Dump(s.Secrets))
	}
}

func TestListenerWaitsForItsSecrets(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	c := newCompiler(t)
	text := `static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {tls_certificate_sds_secret_configs: [{name: default}]}}}}]}]}`
	for _, u := range must(StaticUpdates([]byte(text))) {
		c.Apply(u)
	}
	if s := c.Snapshot(); len(s.Listeners) != 0 || len(s.Missing.Secrets) != 1 {
		t.Fatal(snapshot.Dump(s))
	}
	set(t, c, TypeSecret, certificate("default", cert, key))
	if s := c.Snapshot(); len(s.Listeners) != 1 || !s.Missing.Empty() {
		t.Fatal(snapshot.Dump(s))
	}
}
