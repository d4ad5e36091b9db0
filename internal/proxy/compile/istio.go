package compile

import (
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Types of the filters that only Istio's build of Envoy has.
const (
	typeStats            = "stats.PluginConfig"
	typeALPN             = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
	typePeerMetadata     = "io.istio.http.peer_metadata.Config"
	typeMetadataExchange = "envoy.tcp.metadataexchange.config.MetadataExchange"
)

// istioFilter compiles one of Istio's own filters, HTTP or network.
func (c *Compiler) istioFilter(t *typedStruct) (any, error) {
	switch t.typeName {
	case typeStats:
		return c.istioStats(t.value)
	case typeALPN:
		return istioALPN(t.value)
	case typePeerMetadata:
		return peerMetadata(t.value)
	case typeMetadataExchange:
		f := readStruct(t.value)
		out := &snapshot.MetadataExchange{
			Protocol: f.text("protocol"), EnableDiscovery: f.flag("enable_discovery"), AdditionalLabels: f.texts("additional_labels"),
		}
		return out, f.done()
	default:
		return nil, unsupported("type %s", t.typeName)
	}
}

func (c *Compiler) istioStats(s *structpb.Struct) (*snapshot.IstioStats, error) {
	f := readStruct(s)
	out := &snapshot.IstioStats{
		DisableHostHeader: f.flag("disable_host_header_fallback"), StatPrefix: f.text("stat_prefix"), FieldSeparator: f.text("field_separator"),
		TCPReporting: f.dur("tcp_reporting_duration", 5*time.Second), RotationInterval: f.dur("rotation_interval", 0),
		GracefulDeletion: f.dur("graceful_deletion_interval", 0), Debug: f.flag("debug"), AdditionalWorkload: f.texts("additional_labels"),
	}
	// Sizes of caches that are not here, and a separator of the older plugin.
	f.get("max_peer_cache_size")
	f.text("value_separator")
	if v := f.get("reporter"); v != nil {
		switch n := v.GetStringValue(); {
		case n == "SERVER_GATEWAY" || v.GetNumberValue() == 1:
			out.ServerGateway = true
		case n == "UNSPECIFIED" || n == "" && v.GetNumberValue() == 0:
		default:
			return nil, in("reporter", unsupported("value %v", v))
		}
	}
	for i, v := range f.list("metrics") {
		m, err := metricOverride(v.GetStructValue())
		if err != nil {
			return nil, at("metrics", i, err)
		}
		out.Metrics = append(out.Metrics, m)
	}
	for i, v := range f.list("definitions") {
		d := readStruct(v.GetStructValue())
		def := snapshot.MetricDefinition{Name: d.text("name"), Kind: d.text("type")}
		e, err := snapshot.ParseExpr(d.text("value"))
		if err == nil {
			def.Value, err = e, d.done()
		}
		if err != nil {
			return nil, at("definitions", i, err)
		}
		out.Definitions = append(out.Definitions, def)
	}
	return out, f.done()
}

func metricOverride(s *structpb.Struct) (snapshot.MetricOverride, error) {
	f := readStruct(s)
	out := snapshot.MetricOverride{Name: f.text("name"), Drop: f.flag("drop"), Remove: f.texts("tags_to_remove")}
	dims := f.get("dimensions").GetStructValue()
	for _, k := range sortedKeys(dims.GetFields()) {
		e, err := snapshot.ParseExpr(dims.Fields[k].GetStringValue())
		if err != nil {
			return out, key("dimensions", k, err)
		}
		out.Dimensions = append(out.Dimensions, snapshot.MetricDimension{Name: k, Value: e})
	}
	return out, f.done()
}

func istioALPN(s *structpb.Struct) (*snapshot.ALPN, error) {
	f := readStruct(s)
	out := &snapshot.ALPN{}
	for i, v := range f.list("alpn_override") {
		o := readStruct(v.GetStructValue())
		protos := o.texts("alpn_override")
		p := o.get("upstream_protocol")
		switch n := p.GetStringValue(); {
		case n == "HTTP10" || n == "" && p.GetNumberValue() == 0:
			out.HTTP10 = protos
		case n == "HTTP11" || p.GetNumberValue() == 1:
			out.HTTP11 = protos
		case n == "HTTP2" || p.GetNumberValue() == 2:
			out.HTTP2 = protos
		default:
			return nil, at("alpn_override", i, in("upstream_protocol", unsupported("protocol %q", n)))
		}
		if err := o.done(); err != nil {
			return nil, at("alpn_override", i, err)
		}
	}
	return out, f.done()
}

func peerMetadata(s *structpb.Struct) (*snapshot.PeerMetadata, error) {
	f := readStruct(s)
	out := &snapshot.PeerMetadata{SharedWithUpstream: f.flag("shared_with_upstream"), AdditionalLabels: f.texts("additional_labels")}
	for name, dst := range map[string]*[]snapshot.PeerMethod{
		"downstream_discovery": &out.DownstreamDiscovery, "upstream_discovery": &out.UpstreamDiscovery,
		"downstream_propagation": &out.DownstreamPropagation, "upstream_propagation": &out.UpstreamPropagation,
	} {
		for i, v := range f.list(name) {
			m, err := peerMethod(v.GetStructValue())
			if err != nil {
				return nil, at(name, i, err)
			}
			*dst = append(*dst, m)
		}
	}
	return out, f.done()
}

func peerMethod(s *structpb.Struct) (m snapshot.PeerMethod, err error) {
	if len(s.GetFields()) != 1 {
		return m, unsupported("method: want exactly one")
	}
	for k, v := range s.Fields {
		f := readStruct(v.GetStructValue())
		switch snake(k) {
		case "istio_headers":
			m.Kind, m.SkipExternal = snapshot.PeerHeaders, f.flag("skip_external_clusters")
		case "workload_discovery":
			m.Kind = snapshot.PeerWorkload
		case "baggage":
			m.Kind = snapshot.PeerBaggage
		case "upstream_filter_state":
			m.Kind = snapshot.PeerUpstreamFilterState
			f.text("peer_metadata_key")
		default:
			return m, unsupported("method %q", k)
		}
		err = in(k, f.done())
	}
	return m, err
}
