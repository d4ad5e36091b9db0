package tcp

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/proxy/filter/peermeta"
	"github.com/meshctl/meshctl/internal/proxy/flow"
)

// Istio's metadata exchange on TCP: magic, length of the rest (both big-endian),
// then an Any with a Struct of the two fields below.
const (
	exchangeMagic  = 0x3D230467
	exchangeHeader = 8
	// maxExchange bounds a peer's message; workloads with many labels need a few KiB.
	maxExchange   = 32 << 10
	fieldMetadata = "x-envoy-peer-metadata"
	fieldNodeID   = "x-envoy-peer-metadata-id"
)

var errExchangeSize = errors.New("peer metadata larger than the limit")

// exchangeMessage is what we tell of ourselves: constant for the life of a proxy.
func exchangeMessage(l peermeta.Local) ([]byte, error) {
	fields := map[string]*structpb.Value{fieldNodeID: structpb.NewStringValue(l.NodeID)}
	if l.Encoded != "" {
		raw, err := base64.StdEncoding.DecodeString(l.Encoded)
		if err != nil {
			return nil, fmt.Errorf("decode own peer metadata: %w", err)
		}
		s := &structpb.Struct{}
		if err := proto.Unmarshal(raw, s); err != nil {
			return nil, fmt.Errorf("decode own peer metadata: %w", err)
		}
		fields[fieldMetadata] = structpb.NewStructValue(s)
	}
	opts := proto.MarshalOptions{Deterministic: true}
	body := &anypb.Any{}
	if err := anypb.MarshalFrom(body, &structpb.Struct{Fields: fields}, opts); err != nil {
		return nil, fmt.Errorf("encode own peer metadata: %w", err)
	}
	b := binary.BigEndian.AppendUint32(nil, exchangeMagic)
	b = append(b, 0, 0, 0, 0)
	b, err := opts.MarshalAppend(b, body)
	if err != nil {
		return nil, fmt.Errorf("encode own peer metadata: %w", err)
	}
	if len(b)-exchangeHeader > maxExchange {
		return nil, fmt.Errorf("own peer metadata are %d bytes, more than %d", len(b)-exchangeHeader, maxExchange)
	}
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)-exchangeHeader))
	return b, nil
}

// readExchange looks for a peer's message at the start of its stream. more: too
// early to say. Otherwise n bytes belong to the message; 0 when the stream does
// not begin with one, and all of it is payload. The peer is nil when the message
// is there and cannot be read.
func readExchange(b []byte) (peer *flow.Peer, n int, more bool, err error) {
	var magic [4]byte
	binary.BigEndian.PutUint32(magic[:], exchangeMagic)
	if k := min(len(b), len(magic)); string(b[:k]) != string(magic[:k]) {
		return nil, 0, false, nil
	}
	if len(b) < exchangeHeader {
		return nil, 0, true, nil
	}
	size := binary.BigEndian.Uint32(b[4:])
	if size > maxExchange {
		return nil, 0, false, errExchangeSize
	}
	n = exchangeHeader + int(size)
	if len(b) < n {
		return nil, 0, true, nil
	}
	return decodeExchange(b[exchangeHeader:n]), n, false, nil
}

func decodeExchange(b []byte) *flow.Peer {
	var body anypb.Any
	var s structpb.Struct
	if proto.Unmarshal(b, &body) != nil || body.UnmarshalTo(&s) != nil {
		return nil
	}
	meta, id := s.GetFields()[fieldMetadata].GetStructValue(), s.GetFields()[fieldNodeID].GetStringValue()
	if meta == nil && id == "" {
		return nil
	}
	return peermeta.FromStruct(meta, id)
}
