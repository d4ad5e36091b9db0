package xdsserve

import (
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is gRPC's protobuf codec with two additions: a frame goes out as the
// bytes it refers to, and a discovery request is checked against the limits
// before it is parsed. Other services of the same gRPC server are not affected.
type codec struct {
	proto  encoding.CodecV2
	limits Limits
}

func newCodec(limits Limits) codec {
	return codec{proto: encoding.GetCodecV2(protocodec.Name), limits: limits}
}

func (c codec) Name() string { return protocodec.Name }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return f.bytes, nil
	}
	return c.proto.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v.(type) {
	case *discoveryv3.DeltaDiscoveryRequest, *discoveryv3.DiscoveryRequest:
	default:
		return c.proto.Unmarshal(data, v)
	}
	if n := data.Len(); n > c.limits.MaxRequestBytes {
		return fmt.Errorf("discovery request of %d bytes exceeds the limit of %d", n, c.limits.MaxRequestBytes)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	if err := c.limits.check(buf.ReadOnlyData()); err != nil {
		return err
	}
	return c.proto.Unmarshal(mem.BufferSlice{buf}, v)
}
