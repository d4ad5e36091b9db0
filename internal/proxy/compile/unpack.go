package compile

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// typePrefix is that of every type URL in use.
const typePrefix = "type.googleapis.com/"

// typedStruct is a configuration of a type that is not compiled in: the
// filters that only Istio's build of Envoy has.
type typedStruct struct {
	typeName string
	value    *structpb.Struct
}

// unpack decodes an Any and checks every field in it. The result is a
// proto.Message, or a *typedStruct.
func (c *Compiler) unpack(a *anypb.Any) (any, error) {
	if a == nil {
		return nil, errors.New("missing")
	}
	name, ok := strings.CutPrefix(a.GetTypeUrl(), typePrefix)
	if !ok {
		return nil, unsupported("type %q", a.GetTypeUrl())
	}
	m, err := c.message(name)
	if err != nil {
		return nil, err
	}
	if err := c.decode(a.Value, m); err != nil {
		return nil, err
	}
	switch s := m.(type) {
	case *udpav1.TypedStruct:
		return c.fromStruct(s.GetTypeUrl(), s.GetValue())
	case *xdsv3.TypedStruct:
		return c.fromStruct(s.GetTypeUrl(), s.GetValue())
	default:
		return m, nil
	}
}

// message makes an empty message of a type that is compiled in.
func (c *Compiler) message(name string) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return nil, unsupported("type %s", name)
	}
	return t.New().Interface(), nil
}

// decode reads bytes and refuses what is not understood.
func (c *Compiler) decode(b []byte, m proto.Message) error {
	if len(b) > maxResourceBytes {
		return fmt.Errorf("%d bytes, at most %d", len(b), maxResourceBytes)
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: 2 * maxDepth}).Unmarshal(b, m); err != nil {
		return err
	}
	return c.fields.check(m.ProtoReflect(), 0)
}

// fromStruct takes a struct for the message it stands for, if that is compiled in.
func (c *Compiler) fromStruct(url string, s *structpb.Struct) (any, error) {
	name, _ := strings.CutPrefix(url, typePrefix)
	if name == "" {
		return nil, in("type_url", errors.New("empty"))
	}
	m, err := c.message(name)
	if err != nil {
		return &typedStruct{typeName: name, value: s}, nil //nolint:nilerr // a type of Istio's own
	}
	b, err := json.Marshal(s.AsMap())
	if err != nil {
		return nil, in("value", err)
	}
	if err := (protojson.UnmarshalOptions{RecursionLimit: 2 * maxDepth}).Unmarshal(b, m); err != nil {
		return nil, in("value", err)
	}
	return m, in("value", c.fields.check(m.ProtoReflect(), 0))
}
