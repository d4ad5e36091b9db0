package xdsserve

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Resource is one serialised xDS resource, immutable and shared by all sessions
// that get it. Only NewResource and NewRawResource make one.
type Resource struct {
	name    string
	version string
	typeURL string
	warms   []string
	body    []byte // within delta

	// The bytes as they appear in a response; frame.go has the layout.
	delta mem.Buffer
	sotw  mem.Buffer
	cut   bool // a chunk of a Set ends after this name
}

// Extra are the optional parts of a resource.
type Extra struct {
	// Aliases are other names that the client may have asked with (VHDS).
	Aliases []string
	// Warms names the resources that the client needs again after this one
	// changed: the load assignments of a cluster. Nil means the resource's own name.
	Warms []string
}

// NewResource serialises msg deterministically.
func NewResource(name string, msg proto.Message, extra ...Extra) (*Resource, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("serialise resource %q: %w", name, err)
	}
	return NewRawResource("type.googleapis.com/"+string(msg.ProtoReflect().Descriptor().FullName()), name, body, extra...)
}

// NewRawResource takes the serialised message of a type; it keeps body, which
// must not change afterwards.
func NewRawResource(typeURL, name string, body []byte, extra ...Extra) (*Resource, error) {
	if name == "" || typeURL == "" {
		return nil, errors.New("a resource needs a name and a type URL")
	}
	r := &Resource{name: name, typeURL: typeURL}
	var aliases []string
	for _, e := range extra {
		aliases, r.warms = append(aliases, e.Aliases...), append(r.warms, e.Warms...)
	}
	if r.warms == nil {
		r.warms = []string{name}
	}
	sum := sha256.New()
	sum.Write([]byte(typeURL))
	sum.Write([]byte{0})
	sum.Write(body)
	for _, a := range aliases {
		sum.Write([]byte(a))
		sum.Write([]byte{0})
	}
	r.version = hex.EncodeToString(sum.Sum(nil)[:8])
	r.cut = endsChunk(name)
	r.encode(aliases, body)
	return r, nil
}

// Name is the resource's name in its type.
func (r *Resource) Name() string { return r.name }

// Version is a hash of type and bytes: 16 hex digits, equal in all replicas.
func (r *Resource) Version() string { return r.version }

// TypeURL is the type of the message in Body.
func (r *Resource) TypeURL() string { return r.typeURL }

// Body is the serialised message; do not change it.
func (r *Resource) Body() []byte { return r.body }

// Size is the number of bytes the resource takes in a delta response.
func (r *Resource) Size() int { return r.delta.Len() }

// encode lays the resource out once for both protocols; see frame.go.
func (r *Resource) encode(aliases []string, body []byte) {
	anySize := protowire.SizeTag(1) + protowire.SizeBytes(len(r.typeURL)) + protowire.SizeTag(2) + protowire.SizeBytes(len(body))
	size := protowire.SizeTag(3) + protowire.SizeBytes(len(r.name)) +
		protowire.SizeTag(1) + protowire.SizeBytes(len(r.version)) +
		protowire.SizeTag(2) + protowire.SizeBytes(anySize)
	for _, a := range aliases {
		size += protowire.SizeTag(4) + protowire.SizeBytes(len(a))
	}
	b := make([]byte, 0, protowire.SizeTag(2)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendString(b, 3, r.name)
	b = appendString(b, 1, r.version)
	for _, a := range aliases {
		b = appendString(b, 4, a)
	}
	tail := len(b)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(anySize))
	b = appendString(b, 1, r.typeURL)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendBytes(b, body)
	r.delta, r.sotw = mem.SliceBuffer(b), mem.SliceBuffer(b[tail:])
	r.body = b[len(b)-len(body):]
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}
