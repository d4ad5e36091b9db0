package protocol

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/identity"
)

// listen describes a listener: what it takes and the cluster that it goes to.
type listen struct {
	name    string
	kind    string // "http", "tcp", "auto": HTTP or else TCP, as the first bytes tell
	tls     string // "", "tls", "mtls"
	cluster string
}

// cluster describes an upstream.
type cluster struct {
	name, addr string
	h2, mtls   bool
	raw        bool // no ALPN: what is sent is not HTTP
}

// keys are the certificates of a mesh of one workload.
type keys struct {
	chain, key, roots string
	cert              tls.Certificate
	pool              *x509.CertPool
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	ca, err := identity.NewSelfSignedCA(identity.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "app"}
	key, keyPEM, _, err := identity.NewKeyAndCSR(id)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Sign(identity.SignRequest{PublicKey: key.Public(), URIs: []*url.URL{id.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	k := &keys{chain: string(chain[0]), key: string(keyPEM), roots: string(ca.Roots()), pool: x509.NewCertPool()}
	if k.cert, err = tls.X509KeyPair(chain[0], keyPEM); err != nil {
		t.Fatal(err)
	}
	if !k.pool.AppendCertsFromPEM(ca.Roots()) {
		t.Fatal("roots are not certificates")
	}
	return k
}

// client is how a peer of the mesh calls: the certificate has no DNS name, so only
// the chain is verified.
func (k *keys) client(alpn ...string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{k.cert}, NextProtos: alpn,
		InsecureSkipVerify: true, //nolint:gosec // the chain is verified below
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: k.pool})
			return err
		},
	}
}

// tlsSocket is a transport socket in JSON, which is YAML.
func (k *keys) tlsSocket(kind, options, alpn string) string {
	validation := fmt.Sprintf(`, "validation_context": {"trusted_ca": {"inline_string": %q}, "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}]}`, k.roots)
	if strings.Contains(options, `"require_client_certificate": false`) {
		validation = ""
	}
	return fmt.Sprintf(`{"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.%s", %s,
  "common_tls_context": {"alpn_protocols": [%s], "tls_certificates": [{"certificate_chain": {"inline_string": %q}, "private_key": {"inline_string": %q}}]%s}}}`,
		kind, options, alpn, k.chain, k.key, validation)
}

// headerTimeout is short, for the tests of clients that never finish their headers.
const headerTimeout = "0.4s"

func httpFilter(cluster string) string {
	return fmt.Sprintf(`{"name": "http", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  "codec_type": "AUTO", "stat_prefix": "in", "normalize_path": true, "request_headers_timeout": %q,
  "upgrade_configs": [{"upgrade_type": "websocket"}],
  "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
  "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": %q, "timeout": "0s"}}]}]}}}`, headerTimeout, cluster)
}

func tcpFilter(cluster string) string {
	return fmt.Sprintf(`{"name": "tcp", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": %q}}`, cluster)
}

func (k *keys) listener(l listen, port int) string {
	socket := ""
	alpn := `"h2", "http/1.1"`
	if l.kind == "tcp" {
		alpn = ""
	}
	switch l.tls {
	case "tls":
		socket = `, "transport_socket": ` + k.tlsSocket("DownstreamTlsContext", `"require_client_certificate": false`, alpn)
	case "mtls":
		socket = `, "transport_socket": ` + k.tlsSocket("DownstreamTlsContext", `"require_client_certificate": true`, alpn)
	}
	chain := func(match, filter string) string {
		return fmt.Sprintf(`{"filter_chain_match": {%s}, "filters": [%s]%s}`, match, filter, socket)
	}
	var filters, chains string
	switch l.kind {
	case "http":
		chains = chain("", httpFilter(l.cluster))
	case "tcp":
		chains = chain("", tcpFilter(l.cluster))
	case "auto":
		filters = `{"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}},
  {"name": "http", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}`
		chains = chain(`"application_protocols": ["http/1.1", "h2c"]`, httpFilter(l.cluster)) + ",\n" + chain("", tcpFilter(l.cluster))
	}
	return fmt.Sprintf(`{"name": %q, "address": {"socket_address": {"address": "127.0.0.1", "port_value": %d}}, "listener_filters": [%s], "filter_chains": [%s]}`,
		l.name, port, filters, chains)
}

func (k *keys) cluster(c cluster) string {
	host, port, _ := strings.Cut(c.addr, ":")
	more := ""
	alpn := `"http/1.1"`
	if c.h2 {
		alpn = `"h2"`
		more = `, "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}`
	}
	if c.raw {
		alpn = ""
	}
	if c.mtls {
		more += `, "transport_socket": ` + k.tlsSocket("UpstreamTlsContext", `"sni": "app"`, alpn)
	}
	return fmt.Sprintf(`{"name": %q, "type": "STATIC", "connect_timeout": "5s", "load_assignment": {"cluster_name": %q, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": %q, "port_value": %s}}}}]}]}%s}`,
		c.name, c.name, host, port, more)
}
