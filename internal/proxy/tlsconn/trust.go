package tlsconn

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// maxVerified bounds how many verified certificates a Trust remembers.
const maxVerified = 8192

// Trust is a set of roots, immutable but for its memory of certificates that
// were verified by it. A new bundle is a new Trust and begins without any.
type Trust struct {
	roots   *x509.CertPool            // for every peer
	domains map[string]*x509.CertPool // for peers of one SPIFFE trust domain; nil if not told apart

	mu       sync.Mutex
	verified map[verifiedKey]time.Time // until when the chain holds
}

type verifiedKey struct {
	leaf   [sha256.Size]byte
	usage  x509.ExtKeyUsage
	domain string
}

// NewTrust makes a Trust of roots that vouch for any name.
func NewTrust(roots []*x509.Certificate) *Trust {
	return &Trust{roots: poolOf(roots), verified: map[verifiedKey]time.Time{}}
}

// NewDomainTrust makes a Trust whose roots vouch only for SPIFFE IDs of their own
// trust domain. Peers of other domains, and peers without a SPIFFE ID, are refused.
func NewDomainTrust(domains map[string][]*x509.Certificate) *Trust {
	t := &Trust{domains: map[string]*x509.CertPool{}, verified: map[verifiedKey]time.Time{}}
	for d, roots := range domains {
		t.domains[d] = poolOf(roots)
	}
	return t
}

// SystemTrust makes a Trust of the operating system's roots.
func SystemTrust() (*Trust, error) {
	p, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load the system's root certificates: %w", err)
	}
	return &Trust{roots: p, verified: map[verifiedKey]time.Time{}}, nil
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// verify checks that a chain leads from certs[0] to a root. A leaf that was
// found good before is good until its chain expires: what has been proven is that
// a chain exists, whatever intermediates come along this time.
func (t *Trust) verify(certs []*x509.Certificate, sum [sha256.Size]byte, domain string, usage x509.ExtKeyUsage, now time.Time) error {
	roots := t.roots
	if t.domains != nil {
		if roots = t.domains[domain]; roots == nil {
			return fail(ReasonPeerUnknown, fmt.Errorf("no roots for trust domain %q", domain))
		}
	} else {
		domain = ""
	}
	key := verifiedKey{leaf: sum, usage: usage, domain: domain}
	t.mu.Lock()
	until, ok := t.verified[key]
	t.mu.Unlock()
	if ok && now.Before(until) && !now.Before(certs[0].NotBefore) {
		return nil
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates(certs), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fail(verifyReason(err), err)
	}
	t.remember(key, lastExpiry(chains))
	return nil
}

func intermediates(certs []*x509.Certificate) *x509.CertPool {
	if len(certs) < 2 {
		return nil
	}
	return poolOf(certs[1:])
}

// lastExpiry is when the chain that holds longest ends to hold.
func lastExpiry(chains [][]*x509.Certificate) time.Time {
	var last time.Time
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(last) {
			last = end
		}
	}
	return last
}

func (t *Trust) remember(key verifiedKey, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.verified) >= maxVerified {
		for k := range t.verified { // any; the map's order is random
			delete(t.verified, k)
			break
		}
	}
	t.verified[key] = until
}
