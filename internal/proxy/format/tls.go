package format

import (
	"crypto/sha1" //nolint:gosec // an identifier that Envoy prints, not a signature
	"encoding/hex"
	"encoding/pem"
	"net/url"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// appendTLS gives the operators about TLS sessions and certificates.
func appendTLS(dst []byte, p *snapshot.FormatPart, r *flow.Record) (out []byte, ok, known bool) {
	if down(p.Op) {
		var t *tlsconn.Info
		if r.Conn != nil {
			t = r.Conn.TLS
		}
		out, ok = session(dst, p, t)
		return out, ok, true
	}
	if up(p.Op) {
		out, ok = session(dst, p, r.UpstreamTLS)
		return out, ok, true
	}
	return dst, false, false
}

func down(op snapshot.Operator) bool {
	return op >= snapshot.OpDownstreamPeerSubject && op <= snapshot.OpDownstreamPeerIPSAN ||
		op == snapshot.OpDownstreamTLSVersion || op == snapshot.OpDownstreamTLSCipher
}

func up(op snapshot.Operator) bool {
	return op >= snapshot.OpUpstreamPeerSubject && op <= snapshot.OpUpstreamPeerDNSSAN ||
		op == snapshot.OpUpstreamTLSVersion || op == snapshot.OpUpstreamTLSCipher
}

func session(dst []byte, p *snapshot.FormatPart, t *tlsconn.Info) ([]byte, bool) {
	if t == nil {
		return dst, false
	}
	switch p.Op {
	case snapshot.OpDownstreamTLSVersion, snapshot.OpUpstreamTLSVersion:
		return appendText(dst, t.Version)
	case snapshot.OpDownstreamTLSCipher, snapshot.OpUpstreamTLSCipher:
		return appendText(dst, t.Cipher)
	case snapshot.OpDownstreamPeerSubject, snapshot.OpUpstreamPeerSubject:
		return appendText(dst, t.Subject)
	case snapshot.OpDownstreamPeerIssuer, snapshot.OpUpstreamPeerIssuer:
		return appendText(dst, t.Issuer)
	case snapshot.OpDownstreamPeerURISAN, snapshot.OpUpstreamPeerURISAN:
		return appendList(dst, t.PeerURISANs)
	case snapshot.OpDownstreamPeerDNSSAN, snapshot.OpUpstreamPeerDNSSAN:
		return appendList(dst, t.PeerDNSSANs)
	case snapshot.OpDownstreamPeerSerial:
		return appendText(dst, t.Serial)
	case snapshot.OpDownstreamPeerFingerprint256:
		return appendText(dst, t.SHA256)
	default:
		return certificate(dst, p, t)
	}
}

// certificate gives what is read from the peer's certificate itself.
func certificate(dst []byte, p *snapshot.FormatPart, t *tlsconn.Info) ([]byte, bool) {
	c := t.PeerCertificate
	if c == nil {
		return dst, false
	}
	switch p.Op {
	case snapshot.OpDownstreamPeerFingerprint1:
		sum := sha1.Sum(c.Raw) //nolint:gosec // as above
		return hex.AppendEncode(dst, sum[:]), true
	case snapshot.OpDownstreamPeerCert:
		b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		return append(dst, url.QueryEscape(string(b))...), true
	case snapshot.OpDownstreamPeerCertVStart:
		return AppendTime(dst, c.NotBefore.UTC(), p.Text), true
	case snapshot.OpDownstreamPeerCertVEnd:
		return AppendTime(dst, c.NotAfter.UTC(), p.Text), true
	case snapshot.OpDownstreamPeerIPSAN:
		for i, ip := range c.IPAddresses {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, ip.String()...)
		}
		return dst, len(c.IPAddresses) > 0
	default:
		return dst, false
	}
}

func appendList(dst []byte, l []string) ([]byte, bool) {
	for i, s := range l {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, s...)
	}
	return dst, len(l) > 0
}
