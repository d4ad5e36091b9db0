package xdsserve

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// Answerer answers what is asked over xDS and is no configuration, such as Istio's
// istio.io/debug. A stream that begins with a question is no session: it subscribes
// to nothing and is in no ledger.
type Answerer interface {
	// Answers reports whether a type is a question.
	Answers(typeURL string) bool
	// Answer gives the resources of one. It authenticates the peer; a gRPC status
	// error reaches the client as it is, any other as PermissionDenied.
	Answer(ctx context.Context, node *corev3.Node, peer Peer, typeURL string, names []string) ([]*anypb.Any, error)
	// Identifier is who answers, as ControlPlane of a response has it.
	Identifier() string
}

// answers serves a stream of questions, one after the other.
func (s *Server) answers(wire wire, sotw bool, first request, requests <-chan request, received <-chan error) error {
	ctx, peer := wire.Context(), peerOf(wire.Context())
	node := first.node
	for r := first; ; {
		if err := r.check(s.limits); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		if !s.answerer.Answers(r.typeURL) {
			return status.Errorf(codes.InvalidArgument, "a stream that began with a question cannot subscribe to %s", r.typeURL)
		}
		// An acknowledgement asks nothing. Some clients put a nonce of their own into
		// what they ask first.
		if r.nonce != answerNonce {
			names := r.names
			if !sotw {
				names = r.subscribe
			}
			resources, err := s.answerer.Answer(ctx, node, peer, r.typeURL, names)
			if err != nil {
				return openError(err)
			}
			if err := wire.SendMsg(answer(sotw, r.typeURL, s.answerer.Identifier(), resources)); err != nil {
				return err
			}
		}
		select {
		case r = <-requests:
		case err := <-received:
			return endOf(err)
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.closing:
			return status.Error(codes.Unavailable, "the server is shutting down")
		}
	}
}

// answerNonce is that of every answer.
const answerNonce = "meshctl-answer"

func answer(sotw bool, typeURL, identifier string, resources []*anypb.Any) any {
	who := &corev3.ControlPlane{Identifier: identifier}
	if sotw {
		return &discoveryv3.DiscoveryResponse{VersionInfo: "1", Nonce: answerNonce, TypeUrl: typeURL, Resources: resources, ControlPlane: who}
	}
	out := &discoveryv3.DeltaDiscoveryResponse{SystemVersionInfo: "1", Nonce: answerNonce, TypeUrl: typeURL, ControlPlane: who}
	for _, r := range resources {
		out.Resources = append(out.Resources, &discoveryv3.Resource{Name: typeURL, Version: "1", Resource: r})
	}
	return out
}
