package snapshot

// Format is a compiled format string: literal text and operators such as
// %REQ(:authority)% (Envoy's command operators).
type Format struct {
	Parts []FormatPart
	// Source is the text it was made of.
	Source string
	// OmitEmpty makes absent values empty instead of "-".
	OmitEmpty bool
}

// FormatPart is literal text (Op OpLiteral) or an operator.
type FormatPart struct {
	Op Operator
	// Text is the literal, or the first argument of the operator (a header name
	// in lower case, a metadata namespace, a time format).
	Text string
	// Alt is the second header of REQ(X?Y).
	Alt string
	// Path are the keys below a metadata namespace.
	Path []string
	// Max truncates the value; 0: not truncated.
	Max int
	// Expr is the expression of CEL.
	Expr *Expr
}

// FormatSource gives values to operators.
type FormatSource interface {
	// AppendOperator appends the value of p to dst. ok is false when there is no
	// value; dst is returned unchanged then. Truncation (p.Max) is done by the caller.
	AppendOperator(dst []byte, p *FormatPart) (out []byte, ok bool)
}

// Append writes the formatted text.
func (f *Format) Append(dst []byte, src FormatSource) []byte {
	for i := range f.Parts {
		p := &f.Parts[i]
		if p.Op == OpLiteral {
			dst = append(dst, p.Text...)
			continue
		}
		dst, _ = p.append(dst, src, f.OmitEmpty)
	}
	return dst
}

func (p *FormatPart) append(dst []byte, src FormatSource, omit bool) ([]byte, bool) {
	n := len(dst)
	out, ok := src.AppendOperator(dst, p)
	if !ok {
		if !omit {
			dst = append(dst, '-')
		}
		return dst, false
	}
	if p.Max > 0 && len(out)-n > p.Max {
		out = out[:n+p.Max]
	}
	return out, true
}

// Constant reports whether the format has no operators, and its text.
func (f *Format) Constant() (string, bool) {
	switch len(f.Parts) {
	case 0:
		return "", true
	case 1:
		return f.Parts[0].Text, f.Parts[0].Op == OpLiteral
	default:
		return "", false
	}
}

// Operator is a command operator of formats.
type Operator uint8

// Operators; names are those of Envoy in lower case with underscores left out.
const (
	OpLiteral Operator = iota
	OpReq
	OpReqWithoutQuery
	OpResp
	OpTrailer
	OpStartTime
	OpStartTimeLocal
	OpEmitTime
	OpDuration
	OpCommonDuration // Text "start:end:unit"
	OpRequestDuration
	OpRequestTxDuration
	OpResponseDuration
	OpResponseTxDuration
	OpDownstreamHandshakeDuration
	OpBytesReceived
	OpBytesSent
	OpRequestHeadersBytes
	OpResponseHeadersBytes
	OpResponseTrailersBytes
	OpUpstreamWireBytesSent
	OpUpstreamWireBytesReceived
	OpUpstreamHeaderBytesSent
	OpUpstreamHeaderBytesReceived
	OpDownstreamWireBytesSent
	OpDownstreamWireBytesReceived
	OpDownstreamHeaderBytesSent
	OpDownstreamHeaderBytesReceived
	OpProtocol
	OpUpstreamProtocol
	OpResponseCode
	OpResponseCodeDetails
	OpConnectionTerminationDetails
	OpResponseFlags
	OpResponseFlagsLong
	OpRouteName
	OpVirtualHostName
	OpVirtualClusterName
	OpFilterChainName
	OpUpstreamHost
	OpUpstreamHostName
	OpUpstreamHostNameWithoutPort
	OpUpstreamCluster
	OpUpstreamClusterRaw
	OpUpstreamLocalAddress
	OpUpstreamLocalAddressWithoutPort
	OpUpstreamLocalPort
	OpUpstreamRemoteAddress
	OpUpstreamRemoteAddressWithoutPort
	OpUpstreamRemotePort
	OpUpstreamTransportFailureReason
	OpUpstreamRequestAttemptCount
	OpUpstreamTLSVersion
	OpUpstreamTLSCipher
	OpUpstreamTLSSessionID
	OpUpstreamPeerSubject
	OpUpstreamPeerIssuer
	OpUpstreamPeerURISAN
	OpUpstreamPeerDNSSAN
	OpUpstreamLocalURISAN
	OpUpstreamLocalSubject
	OpUpstreamConnectionID
	OpUpstreamConnectionPoolReadyDuration
	OpUpstreamMetadata // UPSTREAM_METADATA; the same as OpUpstreamHostMetadata
	OpDownstreamRemoteAddress
	OpDownstreamRemoteAddressWithoutPort
	OpDownstreamRemotePort
	OpDownstreamDirectRemoteAddress
	OpDownstreamDirectRemoteAddressWithoutPort
	OpDownstreamDirectRemotePort
	OpDownstreamLocalAddress
	OpDownstreamLocalAddressWithoutPort
	OpDownstreamLocalPort
	OpDownstreamTransportFailureReason
	OpDownstreamPeerSubject
	OpDownstreamPeerIssuer
	OpDownstreamPeerSerial
	OpDownstreamPeerFingerprint256
	OpDownstreamPeerFingerprint1
	OpDownstreamPeerCert
	OpDownstreamPeerCertVStart
	OpDownstreamPeerCertVEnd
	OpDownstreamPeerURISAN
	OpDownstreamPeerDNSSAN
	OpDownstreamPeerIPSAN
	OpDownstreamLocalSubject
	OpDownstreamLocalURISAN
	OpDownstreamLocalDNSSAN
	OpDownstreamTLSVersion
	OpDownstreamTLSCipher
	OpDownstreamTLSSessionID
	OpRequestedServerName
	OpConnectionID
	OpStreamID
	OpTraceID
	OpHostname
	OpUniqueID
	OpGRPCStatus // Text: "", camel_string, snake_string, number
	OpGRPCStatusNumber
	OpLocalReplyBody
	OpAccessLogType
	OpPath // Text: WQ, NQ; Alt: ORIG, PATH, ORIG_OR_PATH
	OpQueryParam
	OpQueryParams
	OpCustomFlags
	OpDynamicMetadata
	OpClusterMetadata
	OpRouteMetadata
	OpListenerMetadata
	OpUpstreamHostMetadata
	OpVirtualHostMetadata
	OpFilterState // Text: key, Alt: PLAIN, TYPED, FIELD
	OpUpstreamFilterState
	OpEnvironment // resolved to a literal by compile
	OpCEL
)
