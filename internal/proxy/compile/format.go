package compile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// argKind says what an operator takes between its parentheses.
type argKind uint8

const (
	argNone     argKind = iota
	argHeader           // NAME or NAME?OTHER
	argText             // anything
	argOptText          // anything, or no parentheses
	argPath             // NAMESPACE:KEY:KEY or ["NAMESPACE","KEY"]
	argState            // KEY or KEY:PLAIN|TYPED|FIELD...
	argExpr             // CEL
	argEnv              // name of an environment variable
	argQuery            // name of a query parameter
	argPathPart         // PATH(WQ:ORIG)
)

type operator struct {
	op  snapshot.Operator
	arg argKind
}

// operators is the table of command operators.
func operators() map[string]operator {
	return map[string]operator{
		"REQ": {snapshot.OpReq, argHeader}, "REQ_WITHOUT_QUERY": {snapshot.OpReqWithoutQuery, argHeader}, "RESP": {snapshot.OpResp, argHeader}, "TRAILER": {snapshot.OpTrailer, argHeader},
		"START_TIME": {snapshot.OpStartTime, argOptText}, "START_TIME_LOCAL": {snapshot.OpStartTimeLocal, argOptText},
		"EMIT_TIME": {snapshot.OpEmitTime, argOptText}, "DURATION": {op: snapshot.OpDuration},
		"COMMON_DURATION":  {snapshot.OpCommonDuration, argText},
		"REQUEST_DURATION": {op: snapshot.OpRequestDuration}, "REQUEST_TX_DURATION": {op: snapshot.OpRequestTxDuration},
		"RESPONSE_DURATION": {op: snapshot.OpResponseDuration}, "RESPONSE_TX_DURATION": {op: snapshot.OpResponseTxDuration},
		"DOWNSTREAM_HANDSHAKE_DURATION": {op: snapshot.OpDownstreamHandshakeDuration},
		"BYTES_RECEIVED":                {op: snapshot.OpBytesReceived}, "BYTES_SENT": {op: snapshot.OpBytesSent},
		"REQUEST_HEADERS_BYTES": {op: snapshot.OpRequestHeadersBytes}, "RESPONSE_HEADERS_BYTES": {op: snapshot.OpResponseHeadersBytes},
		"RESPONSE_TRAILERS_BYTES":  {op: snapshot.OpResponseTrailersBytes},
		"UPSTREAM_WIRE_BYTES_SENT": {op: snapshot.OpUpstreamWireBytesSent}, "UPSTREAM_WIRE_BYTES_RECEIVED": {op: snapshot.OpUpstreamWireBytesReceived},
		"UPSTREAM_HEADER_BYTES_SENT": {op: snapshot.OpUpstreamHeaderBytesSent}, "UPSTREAM_HEADER_BYTES_RECEIVED": {op: snapshot.OpUpstreamHeaderBytesReceived},
		"DOWNSTREAM_WIRE_BYTES_SENT": {op: snapshot.OpDownstreamWireBytesSent}, "DOWNSTREAM_WIRE_BYTES_RECEIVED": {op: snapshot.OpDownstreamWireBytesReceived},
		"DOWNSTREAM_HEADER_BYTES_SENT": {op: snapshot.OpDownstreamHeaderBytesSent}, "DOWNSTREAM_HEADER_BYTES_RECEIVED": {op: snapshot.OpDownstreamHeaderBytesReceived},
		"PROTOCOL": {op: snapshot.OpProtocol}, "UPSTREAM_PROTOCOL": {op: snapshot.OpUpstreamProtocol},
		"RESPONSE_CODE": {op: snapshot.OpResponseCode}, "RESPONSE_CODE_DETAILS": {snapshot.OpResponseCodeDetails, argOptText},
		"CONNECTION_TERMINATION_DETAILS": {op: snapshot.OpConnectionTerminationDetails},
		"RESPONSE_FLAGS":                 {op: snapshot.OpResponseFlags}, "RESPONSE_FLAGS_LONG": {op: snapshot.OpResponseFlagsLong},
		"ROUTE_NAME": {op: snapshot.OpRouteName}, "VIRTUAL_CLUSTER_NAME": {op: snapshot.OpVirtualClusterName},
		"FILTER_CHAIN_NAME": {op: snapshot.OpFilterChainName},
		"UPSTREAM_HOST":     {op: snapshot.OpUpstreamHost}, "UPSTREAM_HOST_NAME": {op: snapshot.OpUpstreamHostName},
		"UPSTREAM_HOST_NAME_WITHOUT_PORT": {op: snapshot.OpUpstreamHostNameWithoutPort},
		"UPSTREAM_CLUSTER":                {op: snapshot.OpUpstreamCluster}, "UPSTREAM_CLUSTER_RAW": {op: snapshot.OpUpstreamClusterRaw},
		"UPSTREAM_LOCAL_ADDRESS": {op: snapshot.OpUpstreamLocalAddress}, "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": {op: snapshot.OpUpstreamLocalAddressWithoutPort},
		"UPSTREAM_LOCAL_PORT": {op: snapshot.OpUpstreamLocalPort}, "UPSTREAM_REMOTE_ADDRESS": {op: snapshot.OpUpstreamRemoteAddress},
		"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": {op: snapshot.OpUpstreamRemoteAddressWithoutPort}, "UPSTREAM_REMOTE_PORT": {op: snapshot.OpUpstreamRemotePort},
		"UPSTREAM_TRANSPORT_FAILURE_REASON": {snapshot.OpUpstreamTransportFailureReason, argOptText},
		"UPSTREAM_REQUEST_ATTEMPT_COUNT":    {op: snapshot.OpUpstreamRequestAttemptCount},
		"UPSTREAM_TLS_VERSION":              {op: snapshot.OpUpstreamTLSVersion}, "UPSTREAM_TLS_CIPHER": {op: snapshot.OpUpstreamTLSCipher},
		"UPSTREAM_TLS_SESSION_ID": {op: snapshot.OpUpstreamTLSSessionID}, "UPSTREAM_PEER_SUBJECT": {op: snapshot.OpUpstreamPeerSubject},
		"UPSTREAM_PEER_ISSUER": {op: snapshot.OpUpstreamPeerIssuer}, "UPSTREAM_PEER_URI_SAN": {op: snapshot.OpUpstreamPeerURISAN},
		"UPSTREAM_PEER_DNS_SAN": {op: snapshot.OpUpstreamPeerDNSSAN}, "UPSTREAM_LOCAL_URI_SAN": {op: snapshot.OpUpstreamLocalURISAN},
		"UPSTREAM_LOCAL_SUBJECT": {op: snapshot.OpUpstreamLocalSubject}, "UPSTREAM_CONNECTION_ID": {op: snapshot.OpUpstreamConnectionID},
		"UPSTREAM_CONNECTION_POOL_READY_DURATION":       {op: snapshot.OpUpstreamConnectionPoolReadyDuration},
		"DOWNSTREAM_REMOTE_ADDRESS":                     {op: snapshot.OpDownstreamRemoteAddress},
		"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        {op: snapshot.OpDownstreamRemoteAddressWithoutPort},
		"DOWNSTREAM_REMOTE_PORT":                        {op: snapshot.OpDownstreamRemotePort},
		"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              {op: snapshot.OpDownstreamDirectRemoteAddress},
		"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": {op: snapshot.OpDownstreamDirectRemoteAddressWithoutPort},
		"DOWNSTREAM_DIRECT_REMOTE_PORT":                 {op: snapshot.OpDownstreamDirectRemotePort},
		"DOWNSTREAM_LOCAL_ADDRESS":                      {op: snapshot.OpDownstreamLocalAddress},
		"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         {op: snapshot.OpDownstreamLocalAddressWithoutPort},
		"DOWNSTREAM_LOCAL_PORT":                         {op: snapshot.OpDownstreamLocalPort},
		"DOWNSTREAM_TRANSPORT_FAILURE_REASON":           {op: snapshot.OpDownstreamTransportFailureReason},
		"DOWNSTREAM_PEER_SUBJECT":                       {op: snapshot.OpDownstreamPeerSubject},
		"DOWNSTREAM_PEER_ISSUER":                        {op: snapshot.OpDownstreamPeerIssuer},
		"DOWNSTREAM_PEER_SERIAL":                        {op: snapshot.OpDownstreamPeerSerial},
		"DOWNSTREAM_PEER_FINGERPRINT_256":               {op: snapshot.OpDownstreamPeerFingerprint256},
		"DOWNSTREAM_PEER_FINGERPRINT_1":                 {op: snapshot.OpDownstreamPeerFingerprint1},
		"DOWNSTREAM_PEER_CERT":                          {op: snapshot.OpDownstreamPeerCert},
		"DOWNSTREAM_PEER_CERT_V_START":                  {snapshot.OpDownstreamPeerCertVStart, argOptText},
		"DOWNSTREAM_PEER_CERT_V_END":                    {snapshot.OpDownstreamPeerCertVEnd, argOptText},
		"DOWNSTREAM_PEER_URI_SAN":                       {op: snapshot.OpDownstreamPeerURISAN},
		"DOWNSTREAM_PEER_DNS_SAN":                       {op: snapshot.OpDownstreamPeerDNSSAN},
		"DOWNSTREAM_PEER_IP_SAN":                        {op: snapshot.OpDownstreamPeerIPSAN},
		"DOWNSTREAM_LOCAL_SUBJECT":                      {op: snapshot.OpDownstreamLocalSubject},
		"DOWNSTREAM_LOCAL_URI_SAN":                      {op: snapshot.OpDownstreamLocalURISAN},
		"DOWNSTREAM_LOCAL_DNS_SAN":                      {op: snapshot.OpDownstreamLocalDNSSAN},
		"DOWNSTREAM_TLS_VERSION":                        {op: snapshot.OpDownstreamTLSVersion},
		"DOWNSTREAM_TLS_CIPHER":                         {op: snapshot.OpDownstreamTLSCipher},
		"DOWNSTREAM_TLS_SESSION_ID":                     {op: snapshot.OpDownstreamTLSSessionID},
		"REQUESTED_SERVER_NAME":                         {snapshot.OpRequestedServerName, argOptText},
		"CONNECTION_ID":                                 {op: snapshot.OpConnectionID},
		"STREAM_ID":                                     {op: snapshot.OpStreamID},
		"TRACE_ID":                                      {op: snapshot.OpTraceID},
		"HOSTNAME":                                      {op: snapshot.OpHostname},
		"UNIQUE_ID":                                     {op: snapshot.OpUniqueID},
		"GRPC_STATUS":                                   {snapshot.OpGRPCStatus, argOptText},
		"GRPC_STATUS_NUMBER":                            {op: snapshot.OpGRPCStatusNumber},
		"LOCAL_REPLY_BODY":                              {op: snapshot.OpLocalReplyBody},
		"ACCESS_LOG_TYPE":                               {op: snapshot.OpAccessLogType},
		"PATH":                                          {snapshot.OpPath, argPathPart},
		"QUERY_PARAM":                                   {snapshot.OpQueryParam, argQuery},
		"QUERY_PARAMS":                                  {snapshot.OpQueryParams, argOptText},
		"CUSTOM_FLAGS":                                  {op: snapshot.OpCustomFlags},
		"DYNAMIC_METADATA":                              {snapshot.OpDynamicMetadata, argPath},
		"CLUSTER_METADATA":                              {snapshot.OpClusterMetadata, argPath},
		"UPSTREAM_METADATA":                             {snapshot.OpUpstreamMetadata, argPath},
		"METADATA":                                      {snapshot.OpDynamicMetadata, argPath},
		"FILTER_STATE":                                  {snapshot.OpFilterState, argState},
		"PER_REQUEST_STATE":                             {snapshot.OpFilterState, argState},
		"UPSTREAM_FILTER_STATE":                         {snapshot.OpUpstreamFilterState, argState},
		"ENVIRONMENT":                                   {snapshot.OpEnvironment, argEnv},
		"CEL":                                           {snapshot.OpCEL, argExpr},
		"TYPED_CEL":                                     {snapshot.OpCEL, argExpr},
	}
}

// format compiles a format string. Texts without operators are the usual case.
func (c *Compiler) format(text string, omitEmpty bool) (*snapshot.Format, error) {
	if len(text) > maxFormatBytes {
		return nil, fmt.Errorf("format of %d bytes, at most %d", len(text), maxFormatBytes)
	}
	f := &snapshot.Format{Source: text, OmitEmpty: omitEmpty}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			f.Parts = append(f.Parts, snapshot.FormatPart{Text: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(text); {
		if text[i] != '%' {
			j := strings.IndexByte(text[i:], '%')
			if j < 0 {
				j = len(text) - i
			}
			lit.WriteString(text[i : i+j])
			i += j
			continue
		}
		if i+1 < len(text) && text[i+1] == '%' {
			lit.WriteByte('%')
			i += 2
			continue
		}
		p, n, err := c.operator(text[i:])
		if err != nil {
			return nil, fmt.Errorf("format at byte %d: %w", i, err)
		}
		if p.Op == snapshot.OpLiteral {
			lit.WriteString(p.Text)
		} else {
			flush()
			f.Parts = append(f.Parts, p)
		}
		i += n
	}
	flush()
	return f, nil
}

// operator reads %NAME(args):MAX% at the start of s and gives its length.
func (c *Compiler) operator(s string) (p snapshot.FormatPart, n int, err error) {
	i := 1
	for i < len(s) && (s[i] == '_' || s[i] >= 'A' && s[i] <= 'Z' || s[i] >= '0' && s[i] <= '9') {
		i++
	}
	name := s[1:i]
	spec, ok := c.operators[name]
	if !ok {
		return p, 0, unsupported("operator %%%s%%", name)
	}
	arg, hasArg := "", false
	if i < len(s) && s[i] == '(' {
		end := argEnd(s, i)
		if end < 0 {
			return p, 0, fmt.Errorf("%s: no closing parenthesis", name)
		}
		arg, hasArg = s[i+1:end], true
		i = end + 1
	}
	if i < len(s) && s[i] == ':' {
		j := strings.IndexByte(s[i:], '%')
		if j < 0 {
			return p, 0, fmt.Errorf("%s: no closing %%", name)
		}
		v, err := strconv.ParseUint(s[i+1:i+j], 10, 31)
		if err != nil {
			return p, 0, fmt.Errorf("%s: length %q", name, s[i+1:i+j])
		}
		p.Max = int(v)
		i += j
	}
	if i >= len(s) || s[i] != '%' {
		return p, 0, fmt.Errorf("%s: no closing %%", name)
	}
	p.Op = spec.op
	if err := c.operatorArg(&p, name, spec.arg, arg, hasArg); err != nil {
		return p, 0, fmt.Errorf("%s: %w", name, err)
	}
	return p, i + 1, nil
}

// argEnd finds the parenthesis that closes the one at s[i]: quotes and nested
// parentheses (CEL) are skipped.
func argEnd(s string, i int) int {
	depth := 0
	var quote byte
	for ; i < len(s); i++ {
		switch b := s[i]; {
		case quote != 0:
			switch b {
			case '\\':
				i++
			case quote:
				quote = 0
			}
		case b == '\'' || b == '"':
			quote = b
		case b == '(':
			depth++
		case b == ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (c *Compiler) operatorArg(p *snapshot.FormatPart, name string, kind argKind, arg string, has bool) (err error) {
	if kind != argNone && kind != argOptText && kind != argPathPart && (!has || arg == "") {
		return errors.New("needs an argument in parentheses")
	}
	switch kind {
	case argNone:
		if has && arg != "" {
			return errors.New("takes no argument")
		}
	case argText, argOptText, argQuery:
		p.Text = arg
	case argHeader:
		first, alt, _ := strings.Cut(arg, "?")
		h, err := c.headerName(first)
		if err != nil {
			return err
		}
		p.Text = h.Name
		if alt != "" {
			if h, err = c.headerName(alt); err != nil {
				return err
			}
			p.Alt = h.Name
		}
	case argPath:
		return c.metadataArg(p, name, arg)
	case argState:
		p.Text, p.Alt, _ = strings.Cut(arg, ":")
	case argExpr:
		p.Expr, err = snapshot.ParseExpr(arg)
	case argEnv:
		p.Op, p.Text = snapshot.OpLiteral, c.env(arg)
	case argPathPart:
		p.Text, p.Alt, _ = strings.Cut(arg, ":")
	}
	return err
}

// env looks up an environment variable; "-" when it is not set, as Envoy does.
func (c *Compiler) env(name string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return "-"
}

// metadataArg reads a metadata path; METADATA has the kind in front.
func (c *Compiler) metadataArg(p *snapshot.FormatPart, name, arg string) error {
	var keys []string
	if strings.HasPrefix(strings.TrimSpace(arg), "[") {
		if err := json.Unmarshal([]byte(arg), &keys); err != nil {
			return fmt.Errorf("path %s: %w", arg, err)
		}
	} else {
		keys = strings.Split(arg, ":")
	}
	if name == "METADATA" {
		kinds := map[string]snapshot.Operator{
			"DYNAMIC": snapshot.OpDynamicMetadata, "CLUSTER": snapshot.OpClusterMetadata, "ROUTE": snapshot.OpRouteMetadata,
			"UPSTREAM_HOST": snapshot.OpUpstreamHostMetadata, "LISTENER": snapshot.OpListenerMetadata, "VIRTUAL_HOST": snapshot.OpVirtualHostMetadata,
		}
		op, ok := kinds[keys[0]]
		if !ok {
			return unsupported("kind of metadata %q", keys[0])
		}
		p.Op, keys = op, keys[1:]
	}
	if len(keys) == 0 || keys[0] == "" {
		return errors.New("no namespace")
	}
	p.Text, p.Path = keys[0], keys[1:]
	return nil
}

// substitutionFormat compiles a SubstitutionFormatString: text or JSON.
func (c *Compiler) substitutionFormat(f *corev3.SubstitutionFormatString) (text *snapshot.Format, obj *snapshot.JSONFormat, err error) {
	if err := c.formatters(f.GetFormatters()); err != nil {
		return nil, nil, err
	}
	switch v := f.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat: //nolint:staticcheck // deprecated, still sent
		text, err = c.format(v.TextFormat, f.OmitEmptyValues)
		return text, nil, in("text_format", err)
	case *corev3.SubstitutionFormatString_TextFormatSource:
		b, err := c.dataSource(v.TextFormatSource, maxFormatBytes)
		if err != nil {
			return nil, nil, in("text_format_source", err)
		}
		text, err = c.format(string(b), f.OmitEmptyValues)
		return text, nil, in("text_format_source", err)
	case *corev3.SubstitutionFormatString_JsonFormat:
		obj, err = c.jsonFormat(v.JsonFormat, f.OmitEmptyValues, 0)
		return nil, obj, in("json_format", err)
	default:
		return nil, nil, errors.New("no format")
	}
}

// formatters are extensions that add operators; ours are built in.
func (c *Compiler) formatters(l []*corev3.TypedExtensionConfig) error {
	for i, e := range l {
		switch u := e.GetTypedConfig().GetTypeUrl(); strings.TrimPrefix(u, typePrefix) {
		case "envoy.extensions.formatter.cel.v3.Cel", "envoy.extensions.formatter.metadata.v3.Metadata",
			"envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery":
		default:
			return at("formatters", i, unsupported("formatter %q (%s)", e.GetName(), u))
		}
	}
	return nil
}

// jsonFormat compiles an object; fields come in the order of their names.
func (c *Compiler) jsonFormat(s *structpb.Struct, omit bool, depth int) (*snapshot.JSONFormat, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	out := &snapshot.JSONFormat{OmitEmpty: omit}
	for _, k := range sortedKeys(s.GetFields()) {
		f, err := c.jsonField(s.Fields[k], omit, depth)
		if err != nil {
			return nil, in(k, err)
		}
		f.Key = k
		out.Fields = append(out.Fields, f)
	}
	return out, nil
}

func (c *Compiler) jsonField(v *structpb.Value, omit bool, depth int) (f snapshot.JSONField, err error) {
	if depth > maxDepth {
		return f, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		f.Value, err = c.format(v.StringValue, omit)
	case *structpb.Value_StructValue:
		f.Object, err = c.jsonFormat(v.StructValue, omit, depth+1)
	case *structpb.Value_ListValue:
		f.List = []snapshot.JSONField{}
		for i, e := range v.ListValue.GetValues() {
			sub, err := c.jsonField(e, omit, depth+1)
			if err != nil {
				return f, at("", i, err)
			}
			f.List = append(f.List, sub)
		}
	case *structpb.Value_NumberValue:
		if math.IsNaN(v.NumberValue) || math.IsInf(v.NumberValue, 0) {
			return f, errors.New("not a finite number")
		}
		f.Const = string(snapshot.AppendValue(nil, v.NumberValue))
	case *structpb.Value_BoolValue:
		f.Const = strconv.FormatBool(v.BoolValue)
	default:
		f.Const = "null"
	}
	return f, err
}
