package snapshot

import "time"

// TCPProxy relays bytes to a cluster.
type TCPProxy struct {
	StatPrefix string
	// Cluster, or Weighted when not empty.
	Cluster     string
	Weighted    []TCPTarget
	TotalWeight uint32
	// MetadataMatch are endpoint criteria under envoy.lb.
	MetadataMatch []MetadataCriterion
	// IdleTimeout closes a connection without traffic in either direction; default 1h.
	IdleTimeout        time.Duration
	MaxConnectAttempts uint32 // default 1
	Backoff            *Backoff
	// HashSourceIP: the source address chooses the endpoint.
	HashSourceIP bool
	// HashFilterState names a filter state object to hash by; "" not used.
	HashFilterState string
	MaxDuration     time.Duration
	// Tunnel carries the bytes in an HTTP CONNECT or POST request; nil: raw.
	Tunnel     *Tunnel
	AccessLogs []*AccessLog
	// AccessLogInterval is the period of logs of open connections; 0: none.
	AccessLogInterval     time.Duration
	AccessLogOnConnection bool
}

// TCPTarget is one of several clusters of a TCPProxy.
type TCPTarget struct {
	Cluster       string
	Weight        uint32
	MetadataMatch []MetadataCriterion
}

// Tunnel says how TCP is carried over HTTP.
type Tunnel struct {
	Hostname *Format
	UsePost  bool
	PostPath string
	Headers  []HeaderOp
}

// MetadataCriterion is a value that endpoint metadata must have.
type MetadataCriterion struct{ Key, Value string }

// Backoff is exponential with full jitter.
type Backoff struct{ Base, Max time.Duration }
