package snapshot

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Secret is a certificate with key, a trust bundle, session ticket keys or
// other bytes. Private keys are never printed.
type Secret struct {
	Name    string
	Version string
	// Certificate is chain and key, checked against each other; nil if it is not one.
	Certificate *tls.Certificate
	// Validation is a trust bundle; nil if it is not one.
	Validation *Validation
	// TicketKeys are session ticket keys, newest first.
	TicketKeys [][32]byte
	// Generic is other secret data.
	Generic []byte
	// NotBefore, NotAfter are the tightest bounds of the chain or bundle.
	NotBefore, NotAfter time.Time
	// Digest tells contents apart without showing them.
	Digest [8]byte
}

// Validation is a trust bundle with its conditions.
type Validation struct {
	Roots *x509.CertPool
	// CAs are the certificates of Roots, for CA lists, admin and chain caches.
	CAs []*x509.Certificate
	// Params that come with the secret (SANs and pins), combined with those of
	// the TLS context by the user: both must hold.
	SANs         []SANMatch
	SPKI, Hashes [][32]byte
	CRL          []*x509.RevocationList
	CRLLeafOnly  bool
	AllowExpired bool
	MaxDepth     uint32
	// TrustDomains maps SPIFFE trust domains to roots (spiffe validator); nil: Roots for all.
	TrustDomains map[string]*x509.CertPool
}
