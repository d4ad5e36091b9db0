package xdsgen

import (
	"fmt"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// typePrefix is that of every type URL in use.
const typePrefix = "type.googleapis.com/"

// Encode serialises a resource: equal messages give equal bytes. The version is
// a hash of the bytes, so that it is equal across replicas and restarts.
func Encode(m proto.Message) ([]byte, string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, "", fmt.Errorf("serialise %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return b, strconv.FormatUint(xxhash.Sum64(b), 16), nil
}

// pack puts a message into an Any, deterministically. Messages that are built
// here always serialise unless a string in them is not UTF-8; such a one becomes
// an Any without a value, which every receiver refuses.
func pack(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return &anypb.Any{}
	}
	return a
}

// packStruct packs the configuration of a filter whose message is not compiled
// in: those of Istio's own build of Envoy.
func packStruct(typeName string, fields map[string]any) *anypb.Any {
	return pack(&udpav1.TypedStruct{TypeUrl: typePrefix + typeName, Value: object(fields)})
}

// object makes a Struct of strings, bools, numbers, []any and map[string]any.
func object(fields map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(fields)
	if err != nil {
		return &structpb.Struct{}
	}
	return s
}

func boolean(v bool) *wrapperspb.BoolValue { return wrapperspb.Bool(v) }

func u32(v uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(v) }

// positive is the value of a setting of which zero and less mean "not set".
func positive(v int32) *wrapperspb.UInt32Value {
	if v <= 0 {
		return nil
	}
	return wrapperspb.UInt32(uint32(v))
}

func seconds(n int) *durationpb.Duration {
	return durationpb.New(time.Duration(n) * time.Second)
}
