package tlsconn

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// suites are the TLS 1.2 cipher suites by OpenSSL's names, which Envoy's
// configuration and Istio's API use. Suites without forward secrecy are taken
// when asked for by name, as Envoy does; the default leaves them out.
var suites = [...]struct {
	name string
	id   uint16
}{
	{"ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	{"ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	{"ECDHE-ECDSA-AES256-GCM-SHA384", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	{"ECDHE-RSA-AES256-GCM-SHA384", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	{"ECDHE-ECDSA-CHACHA20-POLY1305", tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
	{"ECDHE-RSA-CHACHA20-POLY1305", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
	{"ECDHE-ECDSA-AES128-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
	{"ECDHE-RSA-AES128-SHA", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA},
	{"ECDHE-ECDSA-AES256-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA},
	{"ECDHE-RSA-AES256-SHA", tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA},
	{"AES128-GCM-SHA256", tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
	{"AES256-GCM-SHA384", tls.TLS_RSA_WITH_AES_256_GCM_SHA384},
	{"AES128-SHA", tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	{"AES256-SHA", tls.TLS_RSA_WITH_AES_256_CBC_SHA},
}

// cipherSuites reads Envoy's list: names, or groups of equal preference like
// [A|B]. crypto/tls orders suites itself.
func cipherSuites(names []string) ([]uint16, error) {
	var ids []uint16
	for _, group := range names {
		g := group
		if strings.HasPrefix(g, "[") && strings.HasSuffix(g, "]") {
			g = g[1 : len(g)-1]
		}
		for name := range strings.SplitSeq(g, "|") {
			id, ok := cipherID(name)
			if !ok {
				return nil, fmt.Errorf("cipher suite %q is not supported", name)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func cipherID(name string) (uint16, bool) {
	for _, s := range suites {
		if s.name == name {
			return s.id, true
		}
	}
	return 0, false
}

// cipherName is the name Envoy logs.
func cipherName(id uint16) string {
	for _, s := range suites {
		if s.id == id {
			return s.name
		}
	}
	return tls.CipherSuiteName(id)
}

// curves reads Envoy's list. Without one it is X25519 and P-256: the default of
// crypto/tls adds a post-quantum exchange that costs half a handshake more.
func curves(names []string) ([]tls.CurveID, error) {
	if len(names) == 0 {
		return []tls.CurveID{tls.X25519, tls.CurveP256}, nil
	}
	ids := make([]tls.CurveID, 0, len(names))
	for _, n := range names {
		switch n {
		case "X25519":
			ids = append(ids, tls.X25519)
		case "P-256", "prime256v1", "secp256r1":
			ids = append(ids, tls.CurveP256)
		case "P-384", "secp384r1":
			ids = append(ids, tls.CurveP384)
		case "P-521", "secp521r1":
			ids = append(ids, tls.CurveP521)
		case "X25519MLKEM768":
			ids = append(ids, tls.X25519MLKEM768)
		default:
			return nil, fmt.Errorf("ECDH curve %q is not supported", n)
		}
	}
	return ids, nil
}
