package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshctl/meshctl/internal/nametable"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// relay passes Envoy's stream of configuration on to the control plane, which
// Envoy has no credentials for. Nothing is kept: when either side ends, both do,
// and Envoy comes again with the versions that it has.
type relay struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	dial    func(ctx context.Context) (grpc.ClientConnInterface, error)
	context func(ctx context.Context) (context.Context, error)
	names   func(set map[string]nametable.Table, removed []string)
	log     *slog.Logger

	// failure is why the last stream ended; nil while one is up.
	failure atomic.Pointer[string]
	mu      sync.Mutex
	down    bool // there is no stream; told once

	out    sync.Mutex // held while health and up change
	up     *upstream  // nil while there is none that has said who asks
	health *xdsclient.Health
}

// upstream is a stream to the control plane that several goroutines write to.
type upstream struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	mu sync.Mutex
}

func (u *upstream) send(r *discoveryv3.DeltaDiscoveryRequest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.Send(r)
}

// report tells the control plane of the workload's health, now and on each new stream.
func (r *relay) report(h xdsclient.Health) {
	r.out.Lock()
	defer r.out.Unlock()
	r.health = &h
	if r.up != nil {
		_ = r.up.send(h.Request()) // when it fails the stream has ended, and the next one says it
	}
}

// ready begins reports on a stream that has named its node.
func (r *relay) ready(up *upstream) error {
	r.out.Lock()
	defer r.out.Unlock()
	if err := up.Context().Err(); err != nil { // it has ended, and another may be there
		return err
	}
	r.up = up
	if r.health == nil {
		return nil
	}
	return up.send(r.health.Request())
}

func (r *relay) gone(up *upstream) {
	r.out.Lock()
	defer r.out.Unlock()
	if r.up == up {
		r.up = nil
	}
}

// DeltaAggregatedResources implements the service: it returns when either side ends.
func (r *relay) DeltaAggregatedResources(down discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	began := time.Now()
	err := r.pass(ctx, cancel, down)
	if down.Context().Err() != nil {
		return status.FromContextError(down.Context().Err()).Err()
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the control plane has ended the stream")
	}
	text := err.Error()
	r.failure.Store(&text)
	r.mu.Lock()
	told := r.down
	r.down = true
	r.mu.Unlock()
	if !told {
		r.log.WarnContext(ctx, "control plane stream ended; Envoy serves what it has, and asks again", "err", text, "after", time.Since(began).Round(time.Millisecond).String())
	}
	return err
}

func (r *relay) pass(ctx context.Context, cancel func(), down discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	conn, err := r.dial(ctx)
	if err != nil {
		return status.Errorf(codes.Unavailable, "connect: %v", err)
	}
	if c, ok := conn.(io.Closer); ok {
		defer func() { _ = c.Close() }()
	}
	if r.context != nil {
		if ctx, err = r.context(ctx); err != nil {
			return status.Errorf(codes.Unavailable, "credentials: %v", err)
		}
	}
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	up := &upstream{AggregatedDiscoveryService_DeltaAggregatedResourcesClient: stream}
	defer r.gone(up)
	asking := make(chan error, 1)
	go func() {
		err := r.ask(down, up)
		if err != nil && !errors.Is(err, io.EOF) { // a Send's EOF is explained by Recv
			cancel()
		}
		asking <- err
	}()
	err = r.answer(up, down)
	cancel()
	// The goroutine may be held by Recv until this call returns; gRPC ends it then.
	select {
	case e := <-asking:
		if errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
			return e
		}
	default:
	}
	return err
}

// ask passes Envoy's requests on, and after the first, which says who asks, asks
// for the names of services and reports the workload's health.
func (r *relay) ask(down discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, up *upstream) error {
	for first := true; ; first = false {
		req, err := down.Recv()
		if errors.Is(err, io.EOF) {
			return up.CloseSend()
		}
		if err != nil {
			return err
		}
		if err := up.send(req); err != nil {
			return err
		}
		if !first {
			continue
		}
		if err := up.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: nametable.TypeURL, ResourceNamesSubscribe: []string{"*"}}); err != nil {
			return err
		}
		if err := r.ready(up); err != nil {
			return err
		}
	}
}

// answer passes the control plane's answers on, but for the names, which are the agent's.
func (r *relay) answer(up *upstream, down discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	for {
		resp, err := up.Recv()
		if err != nil {
			return err
		}
		r.alive(up.Context())
		if resp.GetTypeUrl() != nametable.TypeURL {
			if err := down.Send(resp); err != nil {
				return err
			}
			continue
		}
		if err := up.send(r.takeNames(resp)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

// alive notes that the control plane speaks to us.
func (r *relay) alive(ctx context.Context) {
	r.failure.Store(nil)
	r.mu.Lock()
	was := r.down
	r.down = false
	r.mu.Unlock()
	if was {
		r.log.InfoContext(ctx, "control plane stream is up again")
	}
}

// takeNames puts a table of names into force and makes the answer to it.
func (r *relay) takeNames(resp *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
	tables := map[string]nametable.Table{}
	var wrong []error
	for _, res := range resp.GetResources() {
		t, err := nametable.Unmarshal(res.GetResource().GetValue())
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", res.GetName(), err))
			continue
		}
		tables[res.GetName()] = t
	}
	if r.names != nil {
		r.names(tables, resp.GetRemovedResources())
	}
	if err := errors.Join(wrong...); err != nil {
		ack.ErrorDetail = &statusv1.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
	}
	return ack
}
