package xdsclient

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
)

const cds = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

// script is a control plane that does what the test says, one stream after the other.
type script struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	streams chan func(discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error
}

func (s *script) DeltaAggregatedResources(st discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	select {
	case f := <-s.streams:
		return f(st)
	case <-st.Context().Done():
		return st.Context().Err()
	}
}

type table map[string]string

func (t table) Apply(_ string, set []Resource, removed []string) map[string]error {
	refused := map[string]error{}
	for _, r := range set {
		if string(r.Body) == "bad" {
			refused[r.Name] = errors.New("field x: no")
			continue
		}
		t[r.Name] = string(r.Body)
	}
	for _, n := range removed {
		delete(t, n)
	}
	return refused
}

func response(nonce string, removed []string, kv ...string) *discoveryv3.DeltaDiscoveryResponse {
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: cds, Nonce: nonce, RemovedResources: removed}
	for i := 0; i < len(kv); i += 2 {
		r.Resources = append(r.Resources, &discoveryv3.Resource{
			Name: kv[i], Version: "v-" + kv[i+1], Resource: &anypb.Any{TypeUrl: cds, Value: []byte(kv[i+1])},
		})
	}
	return r
}

func TestChangesAreAppliedAnsweredAndRemembered(t *testing.T) {
	t.Parallel()
	srv := grpc.NewServer()
	s := &script{streams: make(chan func(discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error)}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, s)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)

	got := table{}
	c := New(Options{
		Node: &corev3.Node{Id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local"}, Types: []string{cds}, Handler: got,
		Logger: slog.New(slog.DiscardHandler), MinRetry: time.Millisecond, MaxRetry: 2 * time.Millisecond,
		Dial: func(context.Context) (grpc.ClientConnInterface, error) {
			return grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()

	// First stream: everything, a bad change, a removal.
	s.streams <- func(st discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
		first, err := st.Recv()
		if err != nil {
			return err
		}
		if first.GetNode().GetId() == "" || !cmp.Equal(first.GetResourceNamesSubscribe(), []string{"*"}) {
			t.Errorf("first request: %v", first)
		}
		exchange := func(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
			if err := st.Send(r); err != nil {
				t.Error(err)
			}
			a, err := st.Recv()
			if err != nil {
				t.Error(err)
			}
			return a
		}
		if a := exchange(response("1", nil, "a", "1", "b", "1")); a.GetResponseNonce() != "1" || a.GetErrorDetail() != nil {
			t.Errorf("answer to good response: %v", a)
		}
		a := exchange(response("2", nil, "a", "2", "b", "bad"))
		if a.GetErrorDetail().GetMessage() != "b: field x: no" {
			t.Errorf("answer to bad response: %v", a)
		}
		if a := exchange(response("3", []string{"a"}, "c", "1")); a.GetErrorDetail() != nil {
			t.Errorf("answer to removal: %v", a)
		}
		return errors.New("end")
	}
	// Second stream: the client says what it has; nothing is sent again.
	s.streams <- func(st discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
		first, err := st.Recv()
		if err != nil {
			return err
		}
		if d := cmp.Diff(map[string]string{"b": "v-1", "c": "v-1"}, first.GetInitialResourceVersions()); d != "" {
			t.Error(d)
		}
		return nil
	}
	s.streams <- func(discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error { return nil }
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if d := cmp.Diff(table{"b": "1", "c": "1"}, got); d != "" {
		t.Error(d)
	}
	st := c.Status()
	if ts := st.Types[cds]; ts.Accepted != 2 || ts.Rejected != 1 || ts.Resources != 2 || st.Reconnects < 1 {
		t.Errorf("status %+v", st)
	}
	if rs := c.Resources(cds); len(rs) != 2 || rs[0].Name != "b" || rs[0].Version != "v-1" {
		t.Errorf("resources %+v", rs)
	}
}
