package snapshot

import (
	"net/netip"
	"time"
)

// Direction is the side of the mesh a listener serves.
type Direction uint8

// Directions.
const (
	DirectionUnspecified Direction = iota
	Inbound
	Outbound
)

// String names the direction as Envoy does.
func (d Direction) String() string {
	switch d {
	case Inbound:
		return "INBOUND"
	case Outbound:
		return "OUTBOUND"
	default:
		return "UNSPECIFIED"
	}
}

// Listener accepts connections, or takes over redirected ones, and chooses a chain for each.
type Listener struct {
	Name    string
	Version string // of the xDS resource
	// Addrs are the addresses; the first is the primary one. IPv6 addresses are
	// for IPv6 only (IPV6_V6ONLY): ipv4_compat shows as a second address.
	Addrs []netip.AddrPort
	// Pipe is the path of a Unix socket; then Addrs is empty.
	Pipe     string
	PipeMode uint32
	// Bind: the listener owns sockets. Otherwise it is in Snapshot.Virtual.
	Bind bool
	// UseOriginalDst hands accepted connections to the virtual listener of their
	// original destination (Snapshot.VirtualFor), if there is one.
	UseOriginalDst bool
	// OriginalDst restores the destination before redirection (SO_ORIGINAL_DST,
	// or the local address of a TPROXY socket when Transparent).
	OriginalDst bool
	// OriginalSrcMark is the mark for upstream sockets that use the client's
	// address as their own (original_src filter); 0: not used.
	OriginalSrcMark uint32
	Transparent     bool // IP_TRANSPARENT
	Freebind        bool
	ReusePort       bool
	Backlog         int // 0: system default
	// MaxAcceptsPerTurn bounds accepts per readiness event; 0: no bound.
	MaxAcceptsPerTurn int
	// ExactBalance spreads connections evenly over the workers.
	ExactBalance  bool
	SocketOptions []SocketOption
	Keepalive     *Keepalive
	Direction     Direction
	StatPrefix    string // of listener.<prefix>.*; empty: the address
	// BufferLimit bounds buffered bytes per connection, in each direction.
	BufferLimit uint32

	// ProxyProtocol, TLSInspector, HTTPInspector are nil when not configured.
	// They run in this order, after OriginalDst.
	ProxyProtocol *ProxyProtocol
	TLSInspector  *Inspector
	HTTPInspector *Inspector
	// InspectTimeout bounds the listener filters; 0: no bound.
	InspectTimeout    time.Duration
	ContinueOnTimeout bool // go on with what is known; else close

	Chains []*Chain
	// Default serves connections that match no chain; nil: they are closed.
	Default *Chain
	// AccessLogs are for connections that get no chain (Envoy's listener log).
	AccessLogs []*AccessLog
	// Config is the path of the mesh resource behind it, for people.
	Config string

	// Index is the compiled form of Chains; made by IndexChains.
	Index *ChainIndex
}

// SocketOption is set before bind.
type SocketOption struct {
	Level, Name int
	Int         int
	Bytes       []byte // used instead of Int when not nil
}

// Keepalive are TCP keepalive settings; 0: system default.
type Keepalive struct {
	Probes         int
	Time, Interval time.Duration
}

// Inspector says for which destination ports a listener filter is disabled
// (filter_disabled predicates of Envoy).
type Inspector struct {
	// Disabled is nil when it always runs.
	Disabled *PortPredicate
	// ReadBuffer is the initial number of bytes to look at; 0: default.
	ReadBuffer int
}

// DisabledFor reports whether the filter skips connections to port.
func (i *Inspector) DisabledFor(port uint16) bool {
	return i.Disabled != nil && i.Disabled.Match(port)
}

// PortPredicate is a boolean expression over the destination port.
type PortPredicate struct {
	Op   BoolOp
	From uint16 // with OpLeaf: From <= port < To
	To   uint32
	Subs []PortPredicate
}

// BoolOp is the operator of an expression tree.
type BoolOp uint8

// Operators.
const (
	OpLeaf BoolOp = iota
	OpAny         // always true
	OpAnd
	OpOr
	OpNot
)

// Match evaluates the predicate.
func (p *PortPredicate) Match(port uint16) bool {
	switch p.Op {
	case OpLeaf:
		return p.From <= port && uint32(port) < p.To
	case OpAny:
		return true
	case OpNot:
		return !p.Subs[0].Match(port)
	case OpAnd:
		for i := range p.Subs {
			if !p.Subs[i].Match(port) {
				return false
			}
		}
		return true
	default:
		for i := range p.Subs {
			if p.Subs[i].Match(port) {
				return true
			}
		}
		return false
	}
}

// ProxyProtocol accepts a PROXY protocol header at the start of a connection.
type ProxyProtocol struct {
	// Optional allows connections without the header.
	Optional bool
	// V1, V2 are the versions accepted.
	V1, V2 bool
}

// Chain is what is done with a connection.
type Chain struct {
	Name  string
	Match ChainMatch
	// TLS is nil for plain text.
	TLS *ServerTLS
	// HandshakeTimeout is transport_socket_connect_timeout; 0: none.
	HandshakeTimeout time.Duration
	// Network filters run in order before HTTP or TCP.
	Network []NetworkFilter
	// Exactly one of HTTP, TCP, Direct is set; a chain with none closes the
	// connection (Envoy: a chain without filters).
	HTTP   *HTTPManager
	TCP    *TCPProxy
	Direct *DirectResponse
	// Config is the path of the mesh resource behind it, Rule the field of it, for people.
	Config, Rule string
}

// DirectResponse writes fixed bytes and closes (envoy.filters.network.direct_response).
type DirectResponse struct{ Body []byte }

// NetworkFilter is a network (L4) filter. Config is one of *RBAC,
// *MetadataExchange, *IstioStats, *SetFilterState, *SNICluster, *ConnectionLimit,
// *LocalRateLimit. A worker that meets another type must close the connection.
type NetworkFilter struct {
	Name   string
	Config any
}

// MetadataExchange is Istio's TCP peer metadata exchange.
type MetadataExchange struct {
	// Protocol is the ALPN value that announces it, "istio-peer-exchange".
	Protocol string
	// EnableDiscovery looks up peers by address when exchange is not possible.
	EnableDiscovery bool
	// AdditionalLabels are further peer labels to be kept.
	AdditionalLabels []string
}

// SNICluster takes the cluster name from the server name (AUTO_PASSTHROUGH gateways).
type SNICluster struct{}

// ConnectionLimit bounds the connections of a chain.
type ConnectionLimit struct {
	StatPrefix string
	Max        uint64
	Delay      time.Duration // before closing one that is over the limit
}
