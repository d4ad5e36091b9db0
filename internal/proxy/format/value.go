package format

import (
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// appendValue appends the raw value of an operator; ok is false when r has none.
// The rarer groups are in functions of their own.
func appendValue(dst []byte, p *snapshot.FormatPart, r *flow.Record) (out []byte, ok bool) {
	switch p.Op {
	case snapshot.OpReq:
		return appendHeader(dst, &r.Req, p)
	case snapshot.OpResp:
		return appendHeader(dst, &r.Resp, p)
	case snapshot.OpTrailer:
		return appendHeader(dst, &r.Trailers, p)
	case snapshot.OpReqWithoutQuery:
		n := len(dst)
		if dst, ok = appendHeader(dst, &r.Req, p); ok {
			dst = cutQuery(dst, n)
		}
		return dst, ok
	case snapshot.OpProtocol:
		return appendText(dst, protocolName(r))
	case snapshot.OpResponseCode:
		return strconv.AppendInt(dst, int64(r.Status), 10), true
	case snapshot.OpResponseFlags:
		return r.Flags.Append(dst), true
	case snapshot.OpResponseFlagsLong:
		return r.Flags.AppendLong(dst), true
	case snapshot.OpResponseCodeDetails:
		return appendDetails(dst, r.Details, p)
	case snapshot.OpUpstreamTransportFailureReason:
		return appendDetails(dst, r.UpstreamFailure, p)
	case snapshot.OpConnectionTerminationDetails:
		return appendText(dst, r.ConnEnd)
	case snapshot.OpRouteName:
		if r.Route == nil {
			return dst, false
		}
		return appendText(dst, r.Route.Name)
	case snapshot.OpVirtualHostName:
		if r.VHost == nil {
			return dst, false
		}
		return appendText(dst, r.VHost.Name)
	case snapshot.OpFilterChainName:
		if r.Conn == nil || r.Conn.Chain == nil {
			return dst, false
		}
		return appendText(dst, r.Conn.Chain.Name)
	case snapshot.OpRequestedServerName:
		if r.Conn == nil {
			return dst, false
		}
		return appendText(dst, r.Conn.ServerName)
	case snapshot.OpTraceID:
		return appendTraceID(dst, r)
	case snapshot.OpHostname:
		h, err := os.Hostname()
		return append(dst, h...), err == nil && h != ""
	case snapshot.OpGRPCStatus, snapshot.OpGRPCStatusNumber:
		return appendGRPC(dst, p, r)
	case snapshot.OpAccessLogType:
		return appendText(dst, LogType(r))
	case snapshot.OpPath, snapshot.OpQueryParam, snapshot.OpQueryParams:
		return appendPath(dst, p, r)
	case snapshot.OpCEL:
		if p.Expr == nil {
			return dst, false
		}
		return p.Expr.Append(dst, Attributes(r))
	default:
	}
	if n, ok := number(p, r); ok {
		return strconv.AppendUint(dst, n, 10), true
	}
	if out, ok, known := appendTime(dst, p, r); known {
		return out, ok
	}
	if out, ok, known := appendAddress(dst, p, r); known {
		return out, ok
	}
	if out, ok, known := appendTLS(dst, p, r); known {
		return out, ok
	}
	if v, ok := metadata(p, r); ok {
		return snapshot.AppendValue(dst, v), true
	}
	return dst, false
}

func appendText(dst []byte, s string) ([]byte, bool) { return append(dst, s...), s != "" }

// appendHeader takes the header called Text, else the one called Alt.
func appendHeader(dst []byte, h *header.List, p *snapshot.FormatPart) ([]byte, bool) {
	v := h.GetName(p.Text)
	if len(v) == 0 && p.Alt != "" {
		v = h.GetName(p.Alt)
	}
	return append(dst, v...), len(v) > 0
}

func cutQuery(dst []byte, from int) []byte {
	for i := from; i < len(dst); i++ {
		if dst[i] == '?' {
			return dst[:i]
		}
	}
	return dst
}

func protocolName(r *flow.Record) string {
	if r.Protocol == 0 {
		return ""
	}
	return r.Protocol.String()
}

// appendDetails writes free text as one word, so that fields of a line stay apart.
func appendDetails(dst []byte, s string, p *snapshot.FormatPart) ([]byte, bool) {
	n := len(dst)
	dst = append(dst, s...)
	if p.Text != "ALLOW_WHITESPACES" {
		for i := n; i < len(dst); i++ {
			if dst[i] == ' ' {
				dst[i] = '_'
			}
		}
	}
	return dst, s != ""
}

func appendTraceID(dst []byte, r *flow.Record) ([]byte, bool) {
	if r.TraceID == ([16]byte{}) {
		return dst, false
	}
	const hex = "0123456789abcdef"
	for _, c := range r.TraceID {
		dst = append(dst, hex[c>>4], hex[c&15])
	}
	return dst, true
}

// LogType is Envoy's %ACCESS_LOG_TYPE% of a finished record.
func LogType(r *flow.Record) string {
	switch {
	case r.Protocol != 0:
		return "DownstreamEnd"
	case r.Conn != nil && r.Conn.Chain != nil && r.Conn.Chain.TCP != nil:
		return "TcpConnectionEnd"
	default:
		return "NotSet"
	}
}

// number gives operators whose values are whole numbers, besides the response code.
func number(p *snapshot.FormatPart, r *flow.Record) (uint64, bool) {
	switch p.Op {
	case snapshot.OpResponseCode:
		return uint64(max(r.Status, 0)), true
	case snapshot.OpBytesReceived:
		return r.BytesReceived, true
	case snapshot.OpBytesSent:
		return r.BytesSent, true
	case snapshot.OpRequestHeadersBytes, snapshot.OpDownstreamHeaderBytesReceived:
		return r.ReqHeaderBytes, true
	case snapshot.OpResponseHeadersBytes, snapshot.OpDownstreamHeaderBytesSent:
		return r.RespHeaderBytes, true
	case snapshot.OpResponseTrailersBytes:
		return r.RespTrailerBytes, true
	case snapshot.OpUpstreamWireBytesSent:
		return r.UpstreamBytesSent, true
	case snapshot.OpUpstreamWireBytesReceived:
		return r.UpstreamBytes, true
	case snapshot.OpDownstreamWireBytesSent:
		return r.BytesSent + r.RespHeaderBytes + r.RespTrailerBytes, true
	case snapshot.OpDownstreamWireBytesReceived:
		return r.BytesReceived + r.ReqHeaderBytes, true
	case snapshot.OpUpstreamRequestAttemptCount:
		return uint64(max(r.Attempts, 0)), true
	case snapshot.OpStreamID:
		return r.StreamID, r.StreamID != 0
	case snapshot.OpConnectionID:
		if r.Conn == nil {
			return 0, false
		}
		return r.Conn.ID, true
	case snapshot.OpUpstreamLocalPort:
		return port(r.UpstreamLocal)
	case snapshot.OpUpstreamRemotePort:
		return port(r.Upstream)
	case snapshot.OpDownstreamRemotePort, snapshot.OpDownstreamDirectRemotePort, snapshot.OpDownstreamLocalPort:
		if r.Conn == nil {
			return 0, false
		}
		return port(downstreamAddr(p.Op, r.Conn))
	default:
		return duration(p, r)
	}
}

func port(a netip.AddrPort) (uint64, bool) { return uint64(a.Port()), a.IsValid() }

// duration gives operators that are milliseconds between two marks.
func duration(p *snapshot.FormatPart, r *flow.Record) (uint64, bool) {
	ms := func(d time.Duration) (uint64, bool) { return uint64(max(d, 0) / time.Millisecond), true }
	set := func(d time.Duration) (uint64, bool) {
		if d <= 0 {
			return 0, false
		}
		return ms(d)
	}
	switch p.Op {
	case snapshot.OpDuration:
		return ms(r.End)
	case snapshot.OpRequestDuration:
		return set(r.RequestEnd)
	case snapshot.OpRequestTxDuration:
		return set(r.UpstreamLastTx)
	case snapshot.OpResponseDuration:
		return set(r.UpstreamFirstRx)
	case snapshot.OpResponseTxDuration:
		if r.UpstreamFirstRx <= 0 || r.End < r.UpstreamFirstRx {
			return 0, false
		}
		return ms(r.End - r.UpstreamFirstRx)
	case snapshot.OpCommonDuration:
		return commonDuration(p.Text, r)
	default:
		return 0, false
	}
}
