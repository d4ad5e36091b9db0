package protocol

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// TestGRPC runs gRPC's interoperability cases through the proxy. A case that fails
// ends the process: the library has it so.
func TestGRPC(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	w := through(t, "http", l.Addr().String(), true)

	for _, way := range []struct {
		name, addr string
		creds      credentials.TransportCredentials
	}{
		{"h2c", w.plain, insecure.NewCredentials()},
		{"mTLS", w.mtls, credentials.NewTLS(w.keys.client("h2"))},
		{"h2c over an mTLS chain", w.chain, insecure.NewCredentials()},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			cc, err := grpc.NewClient("passthrough:///"+way.addr, grpc.WithTransportCredentials(way.creds))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cc.Close() }()
			tc := testgrpc.NewTestServiceClient(cc)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for _, c := range []struct {
				name string
				run  func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)
			}{
				{"empty_unary", interop.DoEmptyUnaryCall},
				{"large_unary", interop.DoLargeUnaryCall},
				{"client_streaming", interop.DoClientStreaming},
				{"server_streaming", interop.DoServerStreaming},
				{"ping_pong", interop.DoPingPong},
				{"empty_stream", interop.DoEmptyStream},
				// Without timeout_on_sleeping_server: the server resets at the same deadline,
				// and whether that or the client's own timer is seen first is chance.
				{"cancel_after_begin", interop.DoCancelAfterBegin},
				{"cancel_after_first_response", interop.DoCancelAfterFirstResponse},
				{"status_code_and_message", interop.DoStatusCodeAndMessage},
				{"special_status_message", interop.DoSpecialStatusMessage},
				{"custom_metadata", interop.DoCustomMetadata},
			} {
				t.Run(c.name, func(*testing.T) { c.run(ctx, tc) })
			}
			t.Run("unimplemented_method", func(*testing.T) { interop.DoUnimplementedMethod(ctx, cc) })
			t.Run("unimplemented_service", func(*testing.T) {
				interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
			})
		})
	}
}
