package compare

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A message is brought into a tree of four kinds of node before it is compared:
//
//	string           a value, as it is printed
//	hidden           a value that is not printed
//	map[string]any   a message, or a map
//	*list            a list
type (
	hidden [sha256.Size]byte
	list   struct {
		ordered bool
		keys    []string // nil: the items have no names
		items   []any
	}
)

// typeKey is the member of a tree that holds the type of what was in an Any.
const typeKey = "@type"

// secrets are fields whose content is not printed.
var secrets = map[protoreflect.Name]bool{
	"private_key": true, "password": true, "session_ticket_keys": true, "private_key_provider": true, "generic_secret": true, "pkcs12": true,
}

// unordered are lists in which order means nothing to a proxy.
var unordered = map[protoreflect.FullName]bool{
	"envoy.config.route.v3.RouteConfiguration.virtual_hosts":                                               true,
	"envoy.config.route.v3.VirtualHost.domains":                                                            true,
	"envoy.config.route.v3.WeightedCluster.clusters":                                                       true,
	"envoy.config.route.v3.RouteMatch.headers":                                                             true,
	"envoy.config.route.v3.RouteMatch.query_parameters":                                                    true,
	"envoy.config.route.v3.RetryPolicy.retriable_status_codes":                                             true,
	"envoy.config.listener.v3.Listener.filter_chains":                                                      true,
	"envoy.config.listener.v3.Listener.access_log":                                                         true,
	"envoy.config.listener.v3.Listener.additional_addresses":                                               true,
	"envoy.config.listener.v3.FilterChainMatch.server_names":                                               true,
	"envoy.config.listener.v3.FilterChainMatch.prefix_ranges":                                              true,
	"envoy.config.listener.v3.FilterChainMatch.source_prefix_ranges":                                       true,
	"envoy.config.listener.v3.FilterChainMatch.application_protocols":                                      true,
	"envoy.config.endpoint.v3.ClusterLoadAssignment.endpoints":                                             true,
	"envoy.config.endpoint.v3.LocalityLbEndpoints.lb_endpoints":                                            true,
	"envoy.config.cluster.v3.CircuitBreakers.thresholds":                                                   true,
	"envoy.config.rbac.v3.Policy.permissions":                                                              true,
	"envoy.config.rbac.v3.Policy.principals":                                                               true,
	"envoy.config.rbac.v3.Permission.Set.rules":                                                            true,
	"envoy.config.rbac.v3.Principal.Set.ids":                                                               true,
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.tls_certificate_sds_secret_configs":        true,
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.match_subject_alt_names":       true,
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.verify_certificate_hash":       true,
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.match_typed_subject_alt_names": true,
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.access_log":         true,
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.access_log":                                    true,
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.clusters":                      true,
}

// defaults are what Envoy takes an absent field for, where the field can also say
// so: setting it to that changes nothing.
var defaults = map[protoreflect.FullName]string{
	"envoy.config.route.v3.RouteAction.timeout":                               "15s",
	"envoy.config.cluster.v3.Cluster.connect_timeout":                         "5s",
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds.max_connections":      "1024",
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds.max_pending_requests": "1024",
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds.max_requests":         "1024",
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds.max_retries":          "3",
	"envoy.config.route.v3.RetryPolicy.num_retries":                           "1",
	"envoy.config.endpoint.v3.LbEndpoint.load_balancing_weight":               "1",
}

// treeOf is the tree of a message.
func treeOf(m protoreflect.Message) any {
	switch x := m.Interface().(type) {
	case *anypb.Any:
		return treeOfAny(x)
	case *durationpb.Duration:
		return x.AsDuration().String()
	case *timestamppb.Timestamp:
		return x.AsTime().UTC().Format("2006-01-02T15:04:05.999Z07:00")
	case *structpb.Struct:
		return treeOfValue(x.AsMap())
	case *structpb.Value:
		return treeOfValue(x.AsInterface())
	case *structpb.ListValue:
		return treeOfValue(x.AsSlice())
	case *corev3.Address:
		if s, ok := address(x); ok {
			return s
		}
	}
	if d := m.Descriptor(); d.FullName().Parent() == "google.protobuf" && strings.HasSuffix(string(d.Name()), "Value") && d.Fields().Len() == 1 {
		return scalar(d.Fields().Get(0), m.Get(d.Fields().Get(0))) // a wrapper
	}
	out := map[string]any{}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		t := treeOfField(f, v)
		if secrets[f.Name()] {
			t = hidden(sha256.Sum256([]byte(text(t))))
		}
		if d, ok := defaults[f.FullName()]; ok && t == d {
			return true
		}
		out[string(f.Name())] = t
		return true
	})
	return out
}

func treeOfAny(x *anypb.Any) any {
	_, name, _ := strings.Cut(x.GetTypeUrl(), "/")
	inner, err := x.UnmarshalNew()
	if err != nil {
		return map[string]any{typeKey: name, "value": bytesText(x.GetValue())}
	}
	t, ok := treeOf(inner.ProtoReflect()).(map[string]any)
	if !ok {
		t = map[string]any{"value": treeOf(inner.ProtoReflect())}
	}
	t[typeKey] = name
	return t
}

func treeOfField(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch {
	case f.IsMap():
		out := map[string]any{}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			out[k.String()] = treeOfSingle(f.MapValue(), v)
			return true
		})
		return out
	case f.IsList():
		l := &list{ordered: !unordered[f.FullName()]}
		for i := range v.List().Len() {
			l.items = append(l.items, treeOfSingle(f, v.List().Get(i)))
		}
		l.name()
		return l
	}
	return treeOfSingle(f, v)
}

func treeOfSingle(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	if f.Message() != nil {
		return treeOf(v.Message())
	}
	return scalar(f, v)
}

func scalar(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.EnumKind:
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
			return string(d.Name())
		}
		return strconv.Itoa(int(v.Enum()))
	case protoreflect.BytesKind:
		return bytesText(v.Bytes())
	default:
		return fmt.Sprint(v.Interface())
	}
}

// maxBytesShown is how long bytes may be to be printed as text.
const maxBytesShown = 200

func bytesText(b []byte) string {
	if len(b) <= maxBytesShown && utf8.Valid(b) && !strings.ContainsFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return string(b)
	}
	sum := sha256.Sum256(b)
	return fmt.Sprintf("(%d bytes, sha256 %s…)", len(b), hex.EncodeToString(sum[:6]))
}

// treeOfValue is the tree of JSON.
func treeOfValue(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, v := range x {
			out[k] = treeOfValue(v)
		}
		return out
	case []any:
		l := &list{ordered: true}
		for _, v := range x {
			l.items = append(l.items, treeOfValue(v))
		}
		l.name()
		return l
	case nil:
		return "null"
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	default:
		return fmt.Sprint(x)
	}
}

func address(a *corev3.Address) (string, bool) {
	if s := a.GetSocketAddress(); s != nil && !s.GetIpv4Compat() && s.GetResolverName() == "" && s.GetNamedPort() == "" {
		protocol := ""
		if s.GetProtocol() != corev3.SocketAddress_TCP {
			protocol = "/" + strings.ToLower(s.GetProtocol().String())
		}
		return fmt.Sprintf("%s:%d%s", s.GetAddress(), s.GetPortValue(), protocol), true
	}
	return "", false
}

// name gives the items of a list names, if each has one of its own: what follows
// an item through a change of its place.
func (l *list) name() {
	for _, of := range []func(any) string{byMatch, byChain, byMember("name"), byMember("address"), endpointAddress, byLocality, byMember("key")} {
		keys := make([]string, 0, len(l.items))
		for _, it := range l.items {
			k := of(it)
			if k == "" || slices.Contains(keys, k) {
				break
			}
			keys = append(keys, k)
		}
		if len(keys) == len(l.items) {
			l.keys = keys
			return
		}
	}
	if !l.ordered {
		// A set of values: each is its own name, one that stands there twice counts once.
		set := map[string]any{}
		for _, it := range l.items {
			set[text(it)] = it
		}
		l.keys, l.items = slices.Sorted(maps.Keys(set)), nil
		for _, k := range l.keys {
			l.items = append(l.items, set[k])
		}
	}
}

func byMember(name string) func(any) string {
	return func(t any) string {
		m, _ := t.(map[string]any)
		s, _ := m[name].(string)
		return s
	}
}

func endpointAddress(t any) string {
	m, _ := t.(map[string]any)
	e, _ := m["endpoint"].(map[string]any)
	s, _ := e["address"].(string)
	return s
}

// byLocality names groups of endpoints.
func byLocality(t any) string {
	m, _ := t.(map[string]any)
	if m["lb_endpoints"] == nil {
		return ""
	}
	out := "anywhere"
	if loc, ok := m["locality"]; ok {
		out = text(loc)
	}
	if p, ok := m["priority"]; ok {
		out += " priority " + text(p)
	}
	return out
}

// byMatch names routes by what they match.
func byMatch(t any) string {
	m, _ := t.(map[string]any)
	match, ok := m["match"].(map[string]any)
	if !ok {
		return ""
	}
	if p, ok := match["prefix"].(string); ok && len(match) == 1 {
		return "prefix " + p
	}
	if p, ok := match["path"].(string); ok && len(match) == 1 {
		return "path " + p
	}
	return text(match)
}

// byChain names filter chains: their names are not unique.
func byChain(t any) string {
	m, _ := t.(map[string]any)
	if m["filters"] == nil {
		return ""
	}
	name, _ := m["name"].(string)
	match, ok := m["filter_chain_match"]
	if !ok {
		return name
	}
	return strings.TrimSpace(name + " " + text(match))
}

// text prints a tree on one line, in YAML's flow style.
func text(t any) string {
	var b strings.Builder
	write(&b, t)
	return b.String()
}

func write(b *strings.Builder, t any) {
	switch x := t.(type) {
	case string:
		b.WriteString(x)
	case hidden:
		b.WriteString("(hidden)")
	case map[string]any:
		b.WriteByte('{')
		first := true
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if k == typeKey {
				continue
			}
			if !first {
				b.WriteString(", ")
			}
			first = false
			b.WriteString(k + ": ")
			write(b, x[k])
		}
		b.WriteByte('}')
	case *list:
		b.WriteByte('[')
		for i, it := range x.items {
			if i > 0 {
				b.WriteString(", ")
			}
			write(b, it)
		}
		b.WriteByte(']')
	}
}

// Messages tells the differences between two messages, ordered by path; nil stands
// for no message.
func Messages(old, now proto.Message) []Field {
	var d differ
	d.compare("", messageTree(old), messageTree(now))
	return d.fields
}

func messageTree(m proto.Message) any {
	if m == nil {
		return nil
	}
	return treeOf(m.ProtoReflect())
}
