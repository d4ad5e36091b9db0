package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// SANKind is a kind of subject alternative name.
type SANKind uint8

// Kinds.
const (
	SANAny SANKind = iota
	SANURI
	SANDNS
	SANEmail
	SANIP
)

// SANMatcher matches one name of a certificate. Of the patterns exactly one is set.
type SANMatcher struct {
	Kind                            SANKind
	Exact, Prefix, Suffix, Contains string
	Regex                           *regexp.Regexp // matches the whole name when anchored so
	IgnoreCase                      bool           // not for Regex
}

func (m *SANMatcher) match(s string) bool {
	if m.Regex != nil {
		return m.Regex.MatchString(s)
	}
	pick := func(p string) string {
		if m.IgnoreCase {
			return strings.ToLower(p)
		}
		return p
	}
	s = pick(s)
	switch {
	case m.Exact != "":
		// A wildcard in the certificate covers one label, as in RFC 6125.
		want := pick(m.Exact)
		if m.Kind == SANDNS && strings.HasPrefix(s, "*.") {
			_, rest, ok := strings.Cut(want, ".")
			return ok && rest == s[2:]
		}
		return s == want
	case m.Prefix != "":
		return strings.HasPrefix(s, pick(m.Prefix))
	case m.Suffix != "":
		return strings.HasSuffix(s, pick(m.Suffix))
	case m.Contains != "":
		return strings.Contains(s, pick(m.Contains))
	default:
		return false
	}
}

// matches reports whether any name of the wanted kind matches.
func (m *SANMatcher) matches(c *x509.Certificate, uris []string) bool {
	is := func(k SANKind) bool { return m.Kind == SANAny || m.Kind == k }
	return is(SANURI) && slices.ContainsFunc(uris, m.match) ||
		is(SANDNS) && slices.ContainsFunc(c.DNSNames, m.match) ||
		is(SANEmail) && slices.ContainsFunc(c.EmailAddresses, m.match) ||
		is(SANIP) && slices.ContainsFunc(c.IPAddresses, func(ip net.IP) bool { return m.match(ip.String()) })
}

// PeerRules say whom to accept. All that are set must hold. The zero value
// accepts whoever has a certificate that the trust vouches for.
type PeerRules struct {
	SPIFFE   bool         // the certificate must be an X.509-SVID: one URI, a SPIFFE ID, not a CA
	SANs     []SANMatcher // one of them must match
	HostName string       // the certificate must be valid for this DNS name or IP address
	SPKI     [][]byte     // SHA-256 of the public key (SubjectPublicKeyInfo) must be among these
	Hashes   [][]byte     // SHA-256 of the certificate must be among these
	// Insecure accepts any certificate, expired and self-made ones too. The other
	// rules still hold. Nothing but a user's explicit wish justifies it.
	Insecure bool
}

// verifier applies rules to the peers of one configuration.
type verifier struct {
	rules PeerRules
	trust TrustSource
	usage x509.ExtKeyUsage
	now   func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]*peer
}

// maxKnown bounds how many descriptions of peers a configuration keeps.
const maxKnown = 1024

// verify is tls.Config.VerifyConnection. It runs in every handshake.
func (v *verifier) verify(cs tls.ConnectionState) error {
	certs := cs.PeerCertificates
	if len(certs) == 0 {
		return nil // whether one is required is ClientAuth's matter
	}
	leaf := certs[0]
	sum := sha256.Sum256(leaf.Raw)
	p := v.peer(leaf, sum)
	var domain string
	if v.rules.SPIFFE {
		d, err := svid(leaf, p.uris)
		if err != nil {
			return fail(ReasonPeerName, err)
		}
		domain = d
	} else if len(p.uris) == 1 {
		domain, _ = trustDomain(p.uris[0])
	}
	if !v.rules.Insecure {
		t := v.trust.Trust()
		if t == nil {
			return fail(ReasonNoTrust, nil)
		}
		if err := t.verify(certs, sum, domain, v.usage, v.now()); err != nil {
			return err
		}
	}
	if err := v.names(leaf, p, sum); err != nil {
		return err
	}
	// crypto/tls keeps this slice as long as the connection lives, and a server
	// parses a certificate anew for each: let all connections of a peer share one.
	certs[0] = p.cert
	return nil
}

func (v *verifier) names(leaf *x509.Certificate, p *peer, sum [sha256.Size]byte) error {
	r := &v.rules
	if r.HostName != "" {
		if err := leaf.VerifyHostname(r.HostName); err != nil {
			return fail(ReasonPeerName, err)
		}
	}
	if len(r.SANs) > 0 && !slices.ContainsFunc(r.SANs, func(m SANMatcher) bool { return m.matches(leaf, p.uris) }) {
		return fail(ReasonPeerName, fmt.Errorf("no name of the certificate is among those expected (it has %s)", nameList(leaf, p.uris)))
	}
	if len(r.Hashes) > 0 && !containsBytes(r.Hashes, sum[:]) {
		return fail(ReasonPeerName, errors.New("hash of the certificate is not among those expected"))
	}
	if len(r.SPKI) > 0 {
		if h := sha256.Sum256(leaf.RawSubjectPublicKeyInfo); !containsBytes(r.SPKI, h[:]) {
			return fail(ReasonPeerName, fmt.Errorf("public key %s is not among those expected", hex.EncodeToString(h[:])))
		}
	}
	return nil
}

func containsBytes(l [][]byte, b []byte) bool {
	return slices.ContainsFunc(l, func(x []byte) bool { return string(x) == string(b) })
}

// nameList shows what a certificate is for, bounded: it may not be trusted.
func nameList(c *x509.Certificate, uris []string) string {
	names := append(slices.Clone(uris), c.DNSNames...)
	if len(names) == 0 {
		return "none"
	}
	s := strings.Join(names[:min(len(names), 4)], ", ")
	return s[:min(len(s), 256)]
}

// svid checks a leaf as the SPIFFE X.509-SVID standard asks and returns its
// trust domain.
func svid(c *x509.Certificate, uris []string) (domain string, err error) {
	if len(uris) != 1 {
		return "", fmt.Errorf("certificate has %d URI names, a SPIFFE identity is exactly one", len(uris))
	}
	domain, ok := trustDomain(uris[0])
	if !ok {
		return "", fmt.Errorf("URI name %.256q is not a SPIFFE ID", uris[0])
	}
	if c.IsCA || c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return "", errors.New("certificate of an authority is no workload's identity")
	}
	return domain, nil
}

// trustDomain is the trust domain of spiffe://domain/path.
func trustDomain(uri string) (string, bool) {
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	if !ok {
		return "", false
	}
	domain, _, _ := strings.Cut(rest, "/")
	return domain, domain != "" && !strings.ContainsAny(domain, "@:?#%[]")
}

// peer describes a certificate, once for all connections that present it.
func (v *verifier) peer(leaf *x509.Certificate, sum [sha256.Size]byte) *peer {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.known[sum]; p != nil {
		return p
	}
	if len(v.known) >= maxKnown {
		for k := range v.known {
			delete(v.known, k)
			break
		}
	}
	p := newPeer(leaf, sum)
	v.known[sum] = p
	return p
}

// describe is the peer of an established session, nil if it showed no certificate.
func (v *verifier) describe(cs tls.ConnectionState) *peer {
	if len(cs.PeerCertificates) == 0 {
		return nil
	}
	leaf := cs.PeerCertificates[0]
	return v.peer(leaf, sha256.Sum256(leaf.Raw))
}
