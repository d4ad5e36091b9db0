package snapshot

import (
	"net/netip"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// Facts is what policies may look at: a connection and, for HTTP, a request.
// It is filled by the connection manager or the TCP proxy and reused.
type Facts struct {
	// Source is the peer after PROXY protocol; Direct the socket's peer; Remote
	// the client as trusted from x-forwarded-for (the same as Source for TCP).
	Source, Direct, Remote netip.AddrPort
	// Destination is the (restored) destination of the connection.
	Destination netip.AddrPort
	// ServerName is the SNI.
	ServerName []byte
	// Peer is nil for plain text.
	Peer *Peer
	// Headers is nil for TCP. Path is :path without query and fragment.
	Headers *header.List
	Path    []byte
	// Dynamic is nil when there is no dynamic metadata and filter state.
	Dynamic Dynamic
}

// Peer is the certificate the other side showed.
type Peer struct {
	// Presented: there is a certificate; Verified: it was verified against our roots.
	Presented, Verified bool
	// URISANs, DNSSANs and Subject (RFC 2253) of the leaf.
	URISANs, DNSSANs []string
	Subject          string
}

// Principal is the first URI SAN, "" when there is none.
func (p *Peer) Principal() string {
	if p == nil || len(p.URISANs) == 0 {
		return ""
	}
	return p.URISANs[0]
}

// Dynamic is dynamic metadata and filter state of a request or connection.
type Dynamic interface {
	// DynamicMetadata finds a value (as in Metadata) below a namespace.
	DynamicMetadata(namespace string, path []string) (any, bool)
	// FilterState gives an object in its text form.
	FilterState(key string) ([]byte, bool)
}
