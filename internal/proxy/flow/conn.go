package flow

import (
	"net/netip"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// Conn is what is known of an accepted connection once its chain is chosen.
// Read-only from then on, but for Peer (TCP metadata exchange).
type Conn struct {
	ID       uint64
	Listener *snapshot.Listener
	Chain    *snapshot.Chain
	// Snap is the generation the connection was accepted under.
	Snap *snapshot.Snapshot
	// Local is the destination the client meant (before redirection).
	Local netip.AddrPort
	// Remote is the client after PROXY protocol; Direct is the socket's peer.
	Remote, Direct netip.AddrPort
	// TLS is nil for plain text.
	TLS *tlsconn.Info
	// ServerName is the SNI, also for TLS that is passed through.
	ServerName string
	// Facts of the connection as policies see them; Headers and Path are unset.
	Facts snapshot.Facts
	Start time.Time
	// Peer is the workload at the other end, if it has told.
	Peer *Peer
}

// Principal is the verified SPIFFE ID of the peer, "" without one.
func (c *Conn) Principal() string {
	if c.Facts.Peer == nil || !c.Facts.Peer.Verified {
		return ""
	}
	return c.Facts.Peer.Principal()
}

// Mutual reports whether both sides showed a verified certificate.
func (c *Conn) Mutual() bool { return c.TLS != nil && c.Facts.Peer != nil && c.Facts.Peer.Verified }

// Peer is a workload as metadata exchange describes it (telemetry labels).
// Empty fields are unknown.
type Peer struct {
	NodeID            string
	Workload          string
	Namespace         string
	CanonicalName     string
	CanonicalRevision string
	App               string
	Version           string
	Cluster           string
	Owner             string
	Identity          string
}
