// Package peermeta exchanges workload metadata with peers in HTTP headers
// (Istio's metadata exchange): x-envoy-peer-metadata is the base64 of a
// google.protobuf.Struct, x-envoy-peer-metadata-id the node id. They never reach
// the application.
package peermeta

import (
	"encoding/base64"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Local is what this proxy tells of itself: constant for its lifetime.
type Local struct {
	NodeID  string
	Encoded string // base64 of the Struct
}

// Encode makes the header value of a workload's metadata.
func Encode(p *flow.Peer) (string, error) {
	str := structpb.NewStringValue
	labels := map[string]*structpb.Value{
		"app": str(p.App), "version": str(p.Version),
		"service.istio.io/canonical-name":     str(p.CanonicalName),
		"service.istio.io/canonical-revision": str(p.CanonicalRevision),
	}
	s := &structpb.Struct{Fields: map[string]*structpb.Value{
		"WORKLOAD_NAME": str(p.Workload), "NAMESPACE": str(p.Namespace), "CLUSTER_ID": str(p.Cluster),
		"NAME": str(nodeName(p.NodeID)), "OWNER": str(p.Owner), "IDENTITY": str(p.Identity),
		"LABELS": structpb.NewStructValue(&structpb.Struct{Fields: labels}),
	}}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// nodeName is the pod's name in a node id: sidecar~ip~name.ns~domain.
func nodeName(id string) string {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return ""
	}
	name, _, _ := strings.Cut(parts[2], ".")
	return name
}

// Limits of what is read from a peer.
const (
	maxEncoded = 16 << 10
	maxCached  = 1024
)

// Decode reads a header value; nil if it is not one.
func Decode(encoded []byte, nodeID []byte) *flow.Peer {
	if len(encoded) == 0 || len(encoded) > maxEncoded {
		return nil
	}
	enc := base64.StdEncoding
	if encoded[len(encoded)-1] != '=' && len(encoded)%4 != 0 {
		enc = base64.RawStdEncoding
	}
	b := make([]byte, enc.DecodedLen(len(encoded)))
	n, err := enc.Decode(b, encoded)
	if err != nil {
		return nil
	}
	var s structpb.Struct
	if err := proto.Unmarshal(b[:n], &s); err != nil {
		return nil
	}
	return FromStruct(&s, string(nodeID))
}

type exchange struct {
	filter.Pass
	cfg   *snapshot.PeerMetadata
	local Local
	cache map[string]*flow.Peer // by encoded value; this worker's own
}

// New makes the filter.
func New(cfg *snapshot.PeerMetadata, local Local) filter.Filter {
	return &exchange{cfg: cfg, local: local, cache: map[string]*flow.Peer{}}
}

func byHeaders(ms []snapshot.PeerMethod) (m snapshot.PeerMethod, ok bool) {
	for _, m := range ms {
		if m.Kind == snapshot.PeerHeaders {
			return m, true
		}
	}
	return snapshot.PeerMethod{}, false
}

// read takes the peer's headers out of h.
func (f *exchange) read(h *header.List) (p *flow.Peer, sent bool) {
	v := h.Get(header.PeerMetadata)
	if v == nil && !h.Has(header.PeerMetadataID) {
		return nil, false
	}
	p, ok := f.cache[string(v)]
	if !ok {
		if p = Decode(v, h.Get(header.PeerMetadataID)); len(f.cache) >= maxCached {
			clear(f.cache)
		}
		f.cache[string(v)] = p
	}
	h.Remove(header.PeerMetadata)
	h.Remove(header.PeerMetadataID)
	return p, true
}

func (f *exchange) write(h *header.List) {
	h.SetString(header.PeerMetadata, f.local.Encoded)
	h.SetString(header.PeerMetadataID, f.local.NodeID)
}

// Request reads the client's metadata and adds ours for the upstream.
func (f *exchange) Request(x *filter.Exchange) filter.Verdict {
	if _, ok := byHeaders(f.cfg.DownstreamDiscovery); ok {
		if p, sent := f.read(&x.Req); sent {
			x.DownstreamPeer, x.PeerSent = p, true
		}
	}
	if m, ok := byHeaders(f.cfg.UpstreamPropagation); ok && (!m.SkipExternal || x.Cluster == nil || !x.Cluster.Mesh.External) {
		f.write(&x.Req)
	}
	return filter.Continue
}

// Response reads the upstream's metadata and answers ours to who has sent its own.
func (f *exchange) Response(x *filter.Exchange) {
	if _, ok := byHeaders(f.cfg.UpstreamDiscovery); ok {
		if p, sent := f.read(&x.Resp); sent {
			x.UpstreamPeer = p
		}
	}
	if _, ok := byHeaders(f.cfg.DownstreamPropagation); ok && x.PeerSent {
		f.write(&x.Resp)
	}
}
