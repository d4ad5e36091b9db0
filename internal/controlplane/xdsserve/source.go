package xdsserve

import (
	"context"
	"net"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// Source is implemented by the control plane.
type Source interface {
	// Open is called with the first request of a stream. It authenticates the
	// peer, decides what the node may see, and returns the watch of it. An error
	// ends the stream; a gRPC status error reaches the client as it is, any
	// other as PermissionDenied.
	Open(ctx context.Context, node *corev3.Node, peer Peer) (Watch, error)
}

// Peer is what the connection says of the client; what the node says of itself
// proves nothing.
type Peer struct {
	Addr     net.Addr
	AuthInfo credentials.AuthInfo // nil on a plaintext connection
	Metadata metadata.MD          // request headers, a bearer token among them
}

// Watch is one session's view. All methods may be called from any goroutine.
type Watch interface {
	// Current returns the Snapshot in force; nil while there is none yet.
	Current() *Snapshot
	// Changed returns a channel that is closed once Current has a successor.
	Changed() <-chan struct{}
	// Resource finds a named resource that is in no Set, on demand.
	Resource(typeURL, name string) (*Resource, bool)
	// Close is called when the session ends.
	Close()
}

// Reporter is a Watch that takes reports of the workload's health; others ignore
// them. Report must not block.
type Reporter interface {
	Report(healthy bool, reason string)
}
