package snapshot

import "net/netip"

// TransportProtocol is what the TLS inspector found.
type TransportProtocol uint8

// Transport protocols. RawBuffer is also what a connection has that was not inspected.
const (
	TransportAny TransportProtocol = iota // in a match only
	RawBuffer
	TLSTransport
)

// String names it as filter chain matches do.
func (t TransportProtocol) String() string {
	switch t {
	case RawBuffer:
		return "raw_buffer"
	case TLSTransport:
		return "tls"
	default:
		return ""
	}
}

// SourceType restricts a chain to local or external clients.
type SourceType uint8

// Source types.
const (
	SourceAny   SourceType = iota
	SourceLocal            // same IP as the destination, or loopback
	SourceExternal
)

// ChainMatch are the criteria of a chain. Zero fields match everything.
type ChainMatch struct {
	DestinationPort uint16
	Destinations    []netip.Prefix
	// ServerNames are lower case; "*.example.com" matches any subdomain.
	ServerNames          []string
	Transport            TransportProtocol
	ApplicationProtocols []string
	DirectSources        []netip.Prefix
	SourceType           SourceType
	Sources              []netip.Prefix
	SourcePorts          []uint16
}

// ConnFacts is what a chain is chosen by. Addresses of IPv4-mapped form must be
// unmapped (netip.Addr.Unmap).
type ConnFacts struct {
	// Destination is the original destination if restored, else the local address.
	Destination netip.AddrPort
	// Source is the client's address as told by PROXY protocol, else the socket's.
	Source netip.AddrPort
	// DirectSource is the socket's peer.
	DirectSource netip.Addr
	// ServerName is the SNI in lower case.
	ServerName []byte
	Transport  TransportProtocol
	// ALPN are the protocols offered by TLS, or found by the HTTP inspector
	// (http/1.0, http/1.1, h2c).
	ALPN [][]byte
}

// IsLocal reports whether the client is on this machine in Envoy's sense.
func (f *ConnFacts) IsLocal() bool {
	return f.Source.Addr() == f.Destination.Addr() || f.Source.Addr().IsLoopback()
}

// Match chooses the chain for a connection: the chain found by its criteria,
// else Default, else nil. It does not allocate.
func (l *Listener) Match(f *ConnFacts) *Chain {
	if l.Index != nil {
		if c := l.Index.find(f); c != nil {
			return c
		}
	}
	return l.Default
}
