package snapshot

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// TLSParams are what both sides have in common. Equal values are shared.
type TLSParams struct {
	// Certificates are secret names (Snapshot.Secrets) of our certificates.
	Certificates []string
	// Validation is the secret name of the trust bundle; "" when peers are not verified.
	Validation string
	// SystemRoots: verify against the system's trust store.
	SystemRoots bool
	// SANs: one must match a subject alternative name of the peer; empty: not looked at.
	SANs []SANMatch
	// SPKI, Hashes pin certificates (SHA-256); one of both lists must match when given.
	SPKI, Hashes [][32]byte
	// AllowExpired accepts expired certificates; AllowUntrusted (ACCEPT_UNTRUSTED)
	// accepts any, but says that it was not verified.
	AllowExpired   bool
	AllowUntrusted bool
	// CRL revokes; nil: none. CRLLeafOnly looks at the leaf only.
	CRL         []*x509.RevocationList
	CRLLeafOnly bool
	// MaxDepth of the chain; 0: default.
	MaxDepth   uint32
	MinVersion uint16 // tls.VersionTLS12...
	MaxVersion uint16
	// Ciphers for TLS 1.2; nil: Go's default.
	Ciphers []uint16
	Curves  []tls.CurveID
	ALPN    []string
}

// SANMatch is a condition on one kind of subject alternative name.
type SANMatch struct {
	Type SANType
	StringMatch
}

// SANType is a kind of subject alternative name.
type SANType uint8

// SAN types.
const (
	SANAny SANType = iota
	SANURI
	SANDNS
	SANEmail
	SANIP
)

// ServerTLS terminates TLS of clients.
type ServerTLS struct {
	*TLSParams
	RequireClientCert bool
	RequireSNI        bool
	// NoTickets disables session tickets; NoResumption stateful resumption.
	NoTickets      bool
	NoResumption   bool
	SessionTimeout time.Duration
	// OCSP stapling is strict; not supported: compile refuses other than lenient.
	PreferClientCiphers bool
}

// ClientTLS originates TLS to upstreams.
type ClientTLS struct {
	*TLSParams
	SNI string
	// AutoHostSNI takes the endpoint's hostname; AutoSNISAN demands that the
	// certificate names the SNI.
	AutoHostSNI bool
	AutoSNISAN  bool
	// Insecure: no validation context at all; peers are not verified.
	Insecure         bool
	AllowRenegotiate bool
	MaxSessions      uint32 // cached for resumption; default 1
	EnforceRSAKeyUse bool
}
