package xdsgen

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// headerOps are changes of headers.
type headerOps struct {
	requestAdd, responseAdd       []*corev3.HeaderValueOption
	requestRemove, responseRemove []string
	// authority is set instead of adding the header, which proxies refuse.
	authority string
}

func (o headerOps) empty() bool {
	return len(o.requestAdd)+len(o.responseAdd)+len(o.requestRemove)+len(o.responseRemove) == 0 && o.authority == ""
}

// headerOps translates changes. Those that a proxy would refuse are left out.
func (b *routeBuilder) headerOps(h *networking.Headers, at string) headerOps {
	var o headerOps
	if h == nil {
		return o
	}
	for _, name := range slices.Sorted(maps.Keys(h.GetRequest().GetSet())) {
		if isAuthority(name) {
			o.authority = h.Request.Set[name]
		}
	}
	o.requestAdd, o.requestRemove = b.operations(h.GetRequest(), at+".request", true)
	o.responseAdd, o.responseRemove = b.operations(h.GetResponse(), at+".response", false)
	return o
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, "host") || name == ":authority"
}

func (b *routeBuilder) operations(o *networking.Headers_HeaderOperations, at string, request bool) (add []*corev3.HeaderValueOption, remove []string) {
	put := func(field string, set map[string]string, action corev3.HeaderValueOption_HeaderAppendAction) {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			if request && field == "set" && isAuthority(name) {
				continue
			}
			value, ok := headerValue(set[name])
			if !changeable(name) || !ok {
				b.warn(codeBadValue, b.source(), at+"."+field, "the header is not changed", "correct name and value", "header %q cannot be given the value %q", name, set[name])
				continue
			}
			if value != set[name] {
				b.warn(codeBadValue, b.source(), at+"."+field, "the text is used as it is written", "write %% for a percent sign", "the value %q of header %q holds no known command", set[name], name)
			}
			add = append(add, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: action})
		}
	}
	put("add", o.GetAdd(), corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	put("set", o.GetSet(), corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	for _, name := range o.GetRemove() {
		if !changeable(name) || strings.Contains(name[:len(name)-1], "*") || name == "*" { // "x-*" is every name that begins so
			b.warn(codeBadValue, b.source(), at+".remove", "the header is not removed", "correct the name", "header %q cannot be removed", name)
			continue
		}
		remove = append(remove, name)
	}
	return add, remove
}

// changeable reports whether a header may be added and removed: pseudo headers
// and the host may not.
func changeable(name string) bool {
	return isHeaderName(name) && name[0] != ':' && !strings.EqualFold(name, "host")
}

// maxHeaderValue is the longest value that proxies take.
const maxHeaderValue = 16 << 10

// command is a command operator as Envoy writes it, with argument and length.
var command = regexp.MustCompile(`^%([A-Z0-9_]+)(\([^%]*\))?(:\d+)?%`)

// headerValue checks a value: no control characters, and between percent signs
// only known commands; other percent signs are doubled, that is, taken as text.
func headerValue(v string) (string, bool) {
	if len(v) > maxHeaderValue || strings.ContainsAny(v, "\r\n\x00") {
		return "", false
	}
	var out strings.Builder
	for i := 0; i < len(v); {
		if v[i] != '%' {
			out.WriteByte(v[i])
			i++
			continue
		}
		rest := v[i:]
		if m := command.FindStringSubmatch(rest); m != nil && knownCommand(m[1], m[2]) {
			out.WriteString(m[0])
			i += len(m[0])
			continue
		}
		out.WriteString("%%")
		i++
		if strings.HasPrefix(rest, "%%") {
			i++
		}
	}
	return out.String(), true
}

// knownCommand reports whether a command may stand in a header value: those that
// both data planes know, with the argument that they need.
func knownCommand(name, arg string) bool {
	switch name {
	case "REQ", "RESP", "TRAILER", "REQ_WITHOUT_QUERY":
		return len(arg) > 2 && isHeaderName(strings.SplitN(strings.Trim(arg, "()"), "?", 2)[0])
	case "DYNAMIC_METADATA", "ENVIRONMENT", "FILTER_STATE":
		return len(arg) > 2
	case "START_TIME":
		return true
	case "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT",
		"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
		"DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_PORT",
		"DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_LOCAL_SUBJECT", "DOWNSTREAM_PEER_SUBJECT",
		"DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_TLS_SESSION_ID", "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TLS_VERSION",
		"DOWNSTREAM_PEER_FINGERPRINT_256", "DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_CERT",
		"UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_LOCAL_ADDRESS", "UPSTREAM_HOST", "UPSTREAM_CLUSTER",
		"HOSTNAME", "PROTOCOL", "REQUESTED_SERVER_NAME", "ROUTE_NAME", "VIRTUAL_CLUSTER_NAME",
		"RESPONSE_FLAGS", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "BYTES_RECEIVED", "BYTES_SENT", "DURATION", "CONNECTION_ID":
		return arg == ""
	default:
		return false
	}
}
