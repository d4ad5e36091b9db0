package h2

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// grpcApp echoes messages; the method's name says how the call ends.
type grpcApp struct{}

func (grpcApp) Accept(s codec.Stream) codec.Receiver { return &grpcStream{s: s} }

type grpcStream struct {
	s    codec.Stream
	path string
}

func (g *grpcStream) OnHeaders(h *header.List, _ bool) {
	g.path = string(h.Get(header.Path))
	switch {
	case strings.HasSuffix(g.path, "/Missing"): // trailers only, before the message has come
		g.s.SendHeaders(list(":status", "200", "content-type", "application/grpc", "grpc-status", "12", "grpc-message", "no such method"), true)
		g.s.Reset(codec.ResetNone)
	case strings.HasSuffix(g.path, "/Refused"):
		g.s.Reset(codec.ResetRefused)
	default:
		g.s.SendHeaders(list(":status", "200", "content-type", "application/grpc"), false)
	}
}

func (g *grpcStream) OnData(b []byte, end bool) {
	if strings.HasSuffix(g.path, "/Early") { // an answer to the first message ends the call
		g.s.SendTrailers(list("grpc-status", "8", "grpc-message", "enough"))
		g.s.Reset(codec.ResetNone)
		return
	}
	g.s.SendData(b, false)
	if end {
		g.s.SendTrailers(list("grpc-status", "0"))
	}
}
func (g *grpcStream) OnTrailers(*header.List) {}
func (g *grpcStream) OnReset(codec.Reset)     {}
func (g *grpcStream) OnWritable()             {}

// TestGRPCClient has grpc-go call our server: unary, streaming, and calls that
// end before the request does.
func TestGRPCClient(t *testing.T) {
	t.Parallel()
	cc, err := grpc.NewClient(serve(t, grpcApp{}, codec.Limits{}, Options{}), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	for _, n := range []int{0, 10, 100000, 3 << 20} {
		in, out := wrapperspb.String(strings.Repeat("m", n)), new(wrapperspb.StringValue)
		if err := cc.Invoke(t.Context(), "/test.Test/Echo", in, out); err != nil || out.GetValue() != in.GetValue() {
			t.Errorf("%d bytes: got %d, %v", n, len(out.GetValue()), err)
		}
	}
	for method, want := range map[string]codes.Code{"Missing": codes.Unimplemented, "Early": codes.ResourceExhausted, "Refused": codes.Unavailable} {
		err := cc.Invoke(t.Context(), "/test.Test/"+method, wrapperspb.String("x"), new(wrapperspb.StringValue))
		if got := status.Code(err); got != want {
			t.Errorf("%s: %v, want %v", method, err, want)
		}
	}
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := cc.NewStream(ctx, desc, "/test.Test/Echo")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 { // ping-pong
		in, out := wrapperspb.String(strings.Repeat("p", i*20)), new(wrapperspb.StringValue)
		if err := stream.SendMsg(in); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(out); err != nil || out.GetValue() != in.GetValue() {
			t.Fatalf("message %d: got %d bytes, %v", i, len(out.GetValue()), err)
		}
	}
	cancel()
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Canceled {
		t.Errorf("after cancelling: %v", err)
	}
}
