package xdsserve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Inputs are what a Server needs.
type Inputs struct {
	Source   Source       // required
	Answerer Answerer     // nil: every type is configuration
	Logger   *slog.Logger // nil discards
	Limits   Limits
	// RemovalGrace is how long clusters that vanished while a client was away
	// stay after it came back, so that its routes can be told first. 0 means 2 s,
	// below 0 not at all.
	RemovalGrace time.Duration
	// Describe reads what the metadata of a client says of it; nil: nothing.
	Describe func(node *corev3.Node) Client
}

// Client is what a client says of itself in its node's metadata, whose keys are not
// xDS's but the mesh's.
type Client struct {
	Version   string // "" is that of the client's build
	ClusterID string // of the Kubernetes cluster that it runs in; "" where nobody says
}

// Server is the aggregated discovery service. It serves on any number of gRPC
// servers, which must be made with GRPCOptions.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	source       Source
	answerer     Answerer
	log          *slog.Logger
	limits       Limits
	removalGrace time.Duration
	describe     func(*corev3.Node) Client
	ledger       *Ledger
	metrics      *Metrics

	mu       sync.Mutex
	open     int
	closed   bool
	closing  chan struct{}
	sessions sync.WaitGroup
}

// NewServer returns a Server that serves once it is registered.
func NewServer(in Inputs) *Server {
	if in.Logger == nil {
		in.Logger = slog.New(slog.DiscardHandler)
	}
	if in.RemovalGrace == 0 {
		in.RemovalGrace = 2 * time.Second
	}
	return &Server{
		source: in.Source, answerer: in.Answerer, log: in.Logger, limits: in.Limits.withDefaults(),
		removalGrace: max(0, in.RemovalGrace), describe: describing(in.Describe),
		ledger: newLedger(), metrics: newMetrics(), closing: make(chan struct{}),
	}
}

// GRPCOptions are the options that a gRPC server needs to carry this service:
// the codec that shares bytes, limits before parsing, and keepalive rules.
// Other services may live on the same server.
func (s *Server) GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec(s.limits)),
		grpc.MaxRecvMsgSize(s.limits.MaxRequestBytes),
		grpc.MaxConcurrentStreams(128),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.ConnectionTimeout(20 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 15 * time.Second, PermitWithoutStream: true}),
	}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// Ledger returns what the sessions have acknowledged.
func (s *Server) Ledger() *Ledger { return s.ledger }

// Metrics returns the collector of the server's metrics.
func (s *Server) Metrics() *Metrics { return s.metrics }

// Close ends all sessions with Unavailable, refuses new ones, and returns when
// the last has ended or ctx has.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.sessions.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close xDS sessions: %w", context.Cause(ctx))
	}
}

// DeltaAggregatedResources serves a delta stream.
func (s *Server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(stream, false, func() (request, error) {
		r, err := stream.Recv()
		return fromDelta(r), err
	})
}

// StreamAggregatedResources serves a state-of-the-world stream.
func (s *Server) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serve(stream, true, func() (request, error) {
		r, err := stream.Recv()
		return fromSotW(r), err
	})
}

// serve runs one stream from its first request to its end.
func (s *Server) serve(wire wire, sotw bool, recv func() (request, error)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	ctx := wire.Context()
	requests, received := s.receive(ctx, recv)
	first, err := s.first(ctx, requests, received)
	if err != nil {
		return err
	}
	if s.answerer != nil && s.answerer.Answers(first.typeURL) {
		return s.answers(wire, sotw, first, requests, received)
	}
	client := peerOf(ctx)
	watch, err := s.source.Open(ctx, first.node, client)
	if err != nil {
		return openError(err)
	}
	defer watch.Close()
	session := s.newSession(wire, sotw, first.node, client, watch)
	defer s.ledger.close(session.row)
	version := session.row.state.Version
	s.metrics.connected(version, 1)
	defer s.metrics.connected(version, -1)
	session.log.Info("proxy connected", "protocol", session.row.state.Protocol)
	if err = session.handle(first); err == nil {
		err = session.run(requests, received)
	}
	session.log.Info("proxy disconnected", "err", err)
	if status.Code(err) == codes.Internal || status.Code(err) == codes.Unknown {
		s.metrics.internal.Inc()
	}
	return err
}

func (s *Server) newSession(wire wire, sotw bool, node *corev3.Node, client Peer, watch Watch) *session {
	protocol := "delta"
	if sotw {
		protocol = "sotw"
	}
	from := ""
	if client.Addr != nil {
		from = client.Addr.String()
	}
	told := s.describe(node)
	return &session{
		server: s, wire: wire, sotw: sotw, watch: watch, snap: watch.Current(),
		log: s.log.With("proxy", node.GetId(), "peer", from),
		row: s.ledger.open(Session{
			Node: node.GetId(), Cluster: node.GetCluster(), ClusterID: told.ClusterID, Version: told.Version, Build: buildOf(node),
			Peer: from, Connected: time.Now(), Protocol: protocol,
		}),
		subs: map[string]*subscription{},
		out:  make(chan *frame, 1), sent: make(chan error, 1),
	}
}

func (s *Server) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return status.Error(codes.Unavailable, "the server is shutting down")
	case s.open >= s.limits.MaxSessions:
		return status.Errorf(codes.ResourceExhausted, "the server has its maximum of %d sessions", s.limits.MaxSessions)
	}
	s.open++
	s.sessions.Add(1)
	return nil
}

func (s *Server) leave() {
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
	s.sessions.Done()
}

// receive reads requests at the allowed pace. It ends with the stream.
func (s *Server) receive(ctx context.Context, recv func() (request, error)) (<-chan request, <-chan error) {
	requests, received := make(chan request), make(chan error, 1)
	go func() {
		pace := newPace(s.limits.RequestsPerSecond, s.limits.Burst)
		for {
			r, err := recv()
			if err != nil {
				received <- err
				return
			}
			if wait := pace.wait(time.Now()); wait > 0 {
				timer := time.NewTimer(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
					timer.Stop()
					return
				}
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests, received
}

// first waits for the request that names the node.
func (s *Server) first(ctx context.Context, requests <-chan request, received <-chan error) (request, error) {
	timer := time.NewTimer(s.limits.FirstRequest)
	defer timer.Stop()
	select {
	case r := <-requests:
		if r.node.GetId() == "" {
			return r, status.Error(codes.InvalidArgument, "the first discovery request of a stream needs a node with an id")
		}
		return r, nil
	case err := <-received:
		return request{}, err
	case <-timer.C:
		return request{}, status.Errorf(codes.DeadlineExceeded, "no discovery request within %v", s.limits.FirstRequest)
	case <-ctx.Done():
		return request{}, status.FromContextError(ctx.Err()).Err()
	case <-s.closing:
		return request{}, status.Error(codes.Unavailable, "the server is shutting down")
	}
}

// endOf is how a stream ends whose reading has ended.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func openError(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.PermissionDenied, err.Error())
}

func peerOf(ctx context.Context) Peer {
	var out Peer
	if p, ok := peer.FromContext(ctx); ok {
		out.Addr, out.AuthInfo = p.Addr, p.AuthInfo
	}
	out.Metadata, _ = metadata.FromIncomingContext(ctx)
	return out
}

// maxVersion bounds what a client says of its version, maxClusterID of its cluster.
const (
	maxVersion   = 64
	maxClusterID = 253
)

// describing reads what a client says of itself, and its build where it says no version.
func describing(told func(*corev3.Node) Client) func(*corev3.Node) Client {
	return func(node *corev3.Node) Client {
		var out Client
		if told != nil {
			out = told(node)
		}
		if len(out.Version) > maxVersion {
			out.Version = ""
		}
		if len(out.ClusterID) > maxClusterID {
			out.ClusterID = ""
		}
		out.Version = cmp.Or(out.Version, versionOf(node), "unknown")
		return out
	}
}

// versionOf is the version of the client's build as it says itself: for Envoy
// major.minor.patch.
func versionOf(node *corev3.Node) string {
	if v := node.GetUserAgentBuildVersion().GetVersion(); v != nil {
		return fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	if v := node.GetUserAgentVersion(); len(v) <= maxVersion {
		return v
	}
	return ""
}

// buildOf is which program the client is, and its version.
func buildOf(node *corev3.Node) string {
	name := node.GetUserAgentName()
	if len(name) > maxVersion {
		return ""
	}
	return strings.TrimSpace(name + " " + versionOf(node))
}
