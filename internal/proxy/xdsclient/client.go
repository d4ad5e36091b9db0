// Package xdsclient keeps a proxy's configuration equal to what the control
// plane holds for it: one incremental ADS stream (envoy.service.discovery.v3,
// DeltaAggregatedResources), a cache of the raw bytes of every resource, and an
// answer to each response only after it has been compiled.
//
//  1. Run connects, and reconnects with a growing pause when the stream ends.
//  2. On a new stream it names, per type, the versions it already has, so that a
//     control plane which serves the same versions sends nothing.
//  3. Each response goes to the Handler. What the handler accepts is kept and
//     acknowledged; when it refuses resources, the response is rejected with
//     their names and reasons, and the last good versions stay in force.
package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// Resource is one xDS resource as it came: the body of its Any.
type Resource struct {
	Name    string
	Version string
	Body    []byte
}

// Handler takes changes into force.
type Handler interface {
	// Apply is called from one goroutine. It returns the reasons for resources it
	// refuses, by name; the rest is in force when it returns.
	Apply(typeURL string, set []Resource, removed []string) map[string]error
}

// Status is what is known of the connection, for admin pages and readiness.
type Status struct {
	Connected  bool
	Since      time.Time // of the present state
	LastError  string
	Types      map[string]TypeStatus
	Reconnects int
}

// TypeStatus counts one type's responses.
type TypeStatus struct {
	Resources  int
	Accepted   uint64
	Rejected   uint64
	LastReject string
	Version    string // system version of the last accepted response
	Updated    time.Time
}

// Options configure a Client.
type Options struct {
	Node *corev3.Node
	// Dial returns the connection to the control plane; called for each stream.
	Dial func(ctx context.Context) (grpc.ClientConnInterface, error)
	// Context adds call credentials to a stream; may be nil.
	Context func(ctx context.Context) (context.Context, error)
	// Types are subscribed to entirely ("*"), requests are sent in this order.
	Types   []string
	Handler Handler
	Logger  *slog.Logger
	// MinRetry and MaxRetry bound the pause before reconnecting; defaults 50 ms and 10 s.
	MinRetry, MaxRetry time.Duration
}

// Client is one proxy's subscription.
type Client struct {
	o     Options
	cache map[string]map[string]Resource // type -> name

	mu     sync.Mutex
	status Status

	out    sync.Mutex // one sender at a time; held while health and up change
	up     stream     // nil while there is none
	health *Health
}

type stream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// Health is what the agent found about its workload.
type Health struct {
	Healthy bool
	Reason  string // when not
}

// typeHealth marks a report among requests (Istio's HealthInformation).
const typeHealth = "type.googleapis.com/istio.v1.HealthInformation"

// Request is a report on the wire: an error detail says what is wrong.
func (h Health) Request() *discoveryv3.DeltaDiscoveryRequest {
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeHealth}
	if !h.Healthy {
		r.ErrorDetail = &statusv1.Status{Code: int32(codes.Internal), Message: h.Reason}
	}
	return r
}

// Report tells the control plane of the workload's health, now and on each new stream.
func (c *Client) Report(h Health) {
	c.out.Lock()
	defer c.out.Unlock()
	c.health = &h
	if c.up != nil {
		_ = c.up.Send(h.Request()) // when it fails the stream has ended, and the next one says it
	}
}

func (c *Client) send(s stream, r *discoveryv3.DeltaDiscoveryRequest) error {
	c.out.Lock()
	defer c.out.Unlock()
	return s.Send(r)
}

// ready begins reports on a stream that has named its node.
func (c *Client) ready(s stream) error {
	c.out.Lock()
	defer c.out.Unlock()
	c.up = s
	if c.health == nil {
		return nil
	}
	return s.Send(c.health.Request())
}

func (c *Client) down() {
	c.out.Lock()
	defer c.out.Unlock()
	c.up = nil
}

// New makes a client; Run starts it.
func New(o Options) *Client {
	if o.MinRetry <= 0 {
		o.MinRetry = 50 * time.Millisecond
	}
	if o.MaxRetry <= 0 {
		o.MaxRetry = 10 * time.Second
	}
	c := &Client{o: o, cache: map[string]map[string]Resource{}, status: Status{Types: map[string]TypeStatus{}, Since: time.Now()}}
	for _, t := range o.Types {
		c.cache[t] = map[string]Resource{}
	}
	return c
}

// Status returns a copy of the present state.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Types = make(map[string]TypeStatus, len(c.status.Types))
	maps.Copy(s.Types, c.status.Types)
	return s
}

// Resources returns the raw resources of a type in force, sorted by name.
func (c *Client) Resources(typeURL string) []Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Resource, 0, len(c.cache[typeURL]))
	for _, r := range c.cache[typeURL] {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Run keeps the stream up until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	pause := c.o.MinRetry
	for {
		began := time.Now()
		err := c.stream(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.setConnected(false, err)
		if time.Since(began) > c.o.MaxRetry {
			pause = c.o.MinRetry
		}
		wait := pause/2 + rand.N(pause)
		c.o.Logger.WarnContext(ctx, "control plane stream ended", "err", err, "retry_in", wait.String())
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(2*pause, c.o.MaxRetry)
	}
}

func (c *Client) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.o.Dial(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if closer, ok := conn.(io.Closer); ok {
		defer func() { _ = closer.Close() }()
	}
	if c.o.Context != nil {
		if ctx, err = c.o.Context(ctx); err != nil {
			return err
		}
	}
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	for i, t := range c.o.Types {
		req := &discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: t, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: c.versions(t),
		}
		if i == 0 {
			req.Node = c.o.Node
		}
		if err := c.send(s, req); err != nil {
			return streamError(s, err)
		}
	}
	defer c.down()
	if err := c.ready(s); err != nil {
		return streamError(s, err)
	}
	for {
		resp, err := s.Recv()
		if err != nil {
			return err
		}
		c.setConnected(true, nil)
		if err := c.send(s, c.take(ctx, resp)); err != nil {
			return streamError(s, err)
		}
	}
}

// streamError digs out why a Send failed: gRPC tells io.EOF there and the
// reason on Recv.
func streamError(s stream, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	if _, rerr := s.Recv(); rerr != nil {
		return rerr
	}
	return err
}

func (c *Client) versions(typeURL string) map[string]string {
	out := make(map[string]string, len(c.cache[typeURL]))
	for n, r := range c.cache[typeURL] {
		out[n] = r.Version
	}
	return out
}

// take puts a response into force and makes the answer to it.
func (c *Client) take(ctx context.Context, resp *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
	known, ok := c.cache[resp.GetTypeUrl()]
	if !ok {
		ack.ErrorDetail = &statusv1.Status{Code: int32(codes.InvalidArgument), Message: "type " + resp.GetTypeUrl() + " was not asked for"}
		return ack
	}
	refused := map[string]error{}
	set := make([]Resource, 0, len(resp.GetResources()))
	for _, r := range resp.GetResources() {
		switch any := r.GetResource(); {
		case any == nil:
			refused[r.GetName()] = errors.New("resource without a body")
		case any.GetTypeUrl() != resp.GetTypeUrl():
			refused[r.GetName()] = fmt.Errorf("body is of type %s", any.GetTypeUrl())
		default:
			set = append(set, Resource{Name: r.GetName(), Version: r.GetVersion(), Body: any.GetValue()})
		}
	}
	maps.Copy(refused, c.o.Handler.Apply(resp.GetTypeUrl(), set, resp.GetRemovedResources()))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range set {
		if refused[r.Name] == nil {
			known[r.Name] = r
		}
	}
	for _, n := range resp.GetRemovedResources() {
		delete(known, n)
	}
	st := c.status.Types[resp.GetTypeUrl()]
	st.Resources, st.Updated = len(known), time.Now()
	if len(refused) > 0 {
		ack.ErrorDetail = &statusv1.Status{Code: int32(codes.InvalidArgument), Message: describe(refused)}
		st.Rejected++
		st.LastReject = ack.GetErrorDetail().GetMessage()
		c.o.Logger.WarnContext(ctx, "configuration refused", "type", resp.GetTypeUrl(), "err", st.LastReject)
	} else {
		st.Accepted++
		st.Version = resp.GetSystemVersionInfo()
	}
	c.status.Types[resp.GetTypeUrl()] = st
	return ack
}

// describe lists refused resources by name, bounded so that a NACK stays readable.
func describe(refused map[string]error) string {
	names := make([]string, 0, len(refused))
	for n := range refused {
		names = append(names, n)
	}
	slices.Sort(names)
	const most = 10
	var b strings.Builder
	for i, n := range names {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %v", n, refused[n])
	}
	return b.String()
}

func (c *Client) setConnected(on bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.Connected != on {
		c.status.Connected, c.status.Since = on, time.Now()
		if !on {
			c.status.Reconnects++
		}
	}
	if err != nil {
		c.status.LastError = err.Error()
	}
}
