package xdsserve

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// frame is a response ready for the wire: protobuf lets fields come in any
// order, and a message that is cut at field boundaries is the concatenation of
// its pieces. So a response is a header made for the session, followed by bytes
// that all sessions share.
//
// DeltaDiscoveryResponse:
//
//	header    1 system_version_info, 4 type_url, 5 nonce, 6 removed_resources...
//	resource  2 resources { 3 name, 1 version, 4 aliases..., 2 resource Any }
//
// DiscoveryResponse:
//
//	header    1 version_info, 4 type_url, 5 nonce
//	resource  2 resources Any
//
// The Any is the last field of the delta form, and has field number 2 in both
// messages; the state-of-the-world form is therefore the tail of the delta form
// and needs no bytes of its own.
type frame struct {
	bytes mem.BufferSlice
	size  int
}

func deltaFrame(version, typeURL, nonce string, resources []*Resource, removed []string) *frame {
	h := header(version, typeURL, nonce, removed)
	f := &frame{bytes: make(mem.BufferSlice, 0, 1+len(resources))}
	f.add(mem.SliceBuffer(h))
	for _, r := range resources {
		f.add(r.delta)
	}
	return f
}

func sotwFrame(version, typeURL, nonce string, resources []*Resource) *frame {
	h := header(version, typeURL, nonce, nil)
	f := &frame{bytes: make(mem.BufferSlice, 0, 1+len(resources))}
	f.add(mem.SliceBuffer(h))
	for _, r := range resources {
		f.add(r.sotw)
	}
	return f
}

func header(version, typeURL, nonce string, removed []string) []byte {
	size := 16 + len(version) + len(typeURL) + len(nonce)
	for _, name := range removed {
		size += 1 + protowire.SizeBytes(len(name))
	}
	h := make([]byte, 0, size)
	h = appendString(h, 1, version)
	h = appendString(h, 4, typeURL)
	h = appendString(h, 5, nonce)
	for _, name := range removed {
		h = appendString(h, 6, name)
	}
	return h
}

func (f *frame) add(b mem.Buffer) {
	f.bytes = append(f.bytes, b)
	f.size += b.Len()
}
