package httpconn

import (
	"strconv"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// respond sends the head in Resp to the client: an upstream's, or our own.
func (x *exchange) respond(end bool) {
	if x.closed || x.down == nil {
		return
	}
	fs := x.chain.filters
	first := min(x.next, len(fs)-1)
	for i := first; i >= 0; i-- {
		fs[i].Response(&x.Exchange)
	}
	x.responseHeaders()
	x.finishHead()
	x.Status = parseStatus(x.Resp.Get(header.Status))
	if x.GRPC && x.GRPCStatus < 0 {
		x.GRPCStatus = grpcStatus(&x.Resp)
	}
	if !x.LocalReply {
		x.detail("via_upstream")
	}
	x.respBegun = true
	x.ResponseStart = x.since()
	x.RespHeaderBytes = uint64(x.Resp.Bytes())
	if x.Status == 101 || x.Status/100 == 2 && string(x.Req.Get(header.Method)) == "CONNECT" {
		x.conn.tunnel = x.Protocol != codec.HTTP2
		x.timeout.Stop()
	}
	x.body = x.body[:0]
	x.down.SendHeaders(&x.Resp, end)
	if end {
		x.responseEnded()
	}
}

// finishHead adds the fields that every response of a proxy has.
func (x *exchange) finishHead() {
	m := x.Manager
	switch m.ServerHeader {
	case snapshot.ServerOverwrite:
		x.Resp.SetString(header.Server, m.ServerName)
	case snapshot.ServerAppendIfAbsent:
		if !x.Resp.Has(header.Server) {
			x.Resp.SetString(header.Server, m.ServerName)
		}
	case snapshot.ServerPassThrough:
	}
	if !x.Resp.Has(header.Date) {
		x.Resp.Set(header.Date, x.s.date.at(x.s.w.Now()))
	}
	if m.Via != "" {
		x.Resp.AddIDString(header.Via, m.Via)
	}
	if m.AlwaysSetRequestID {
		if id := x.Req.Get(header.XRequestID); id != nil {
			x.Resp.Set(header.XRequestID, id)
		}
	}
	if x.retry.setCookie != nil {
		x.Resp.AddID(header.SetCookie, x.retry.setCookie)
	}
	if x.LocalReply {
		return
	}
	if !x.suppressEnvoyHeaders() {
		var buf [20]byte
		ms := (x.since() - x.UpstreamFirstTx).Milliseconds()
		x.Resp.Set(header.XEnvoyUpstreamServiceTime, strconv.AppendInt(buf[:0], ms, 10))
	}
	if x.VHost != nil && x.VHost.AttemptCountResponse {
		var buf [8]byte
		x.Resp.Set(header.XEnvoyAttemptCount, strconv.AppendInt(buf[:0], int64(x.Attempts), 10))
	}
}

// Reply implements filter.Control: the proxy answers by itself. A gRPC client
// gets the answer as gRPC wants it: HTTP 200 with a status in the trailers.
func (x *exchange) Reply(r filter.Reply) {
	if x.closed || x.respBegun {
		return
	}
	x.LocalReply = true
	x.timeout.Stop()
	x.up.abandon(false)
	x.Flags |= r.Flags
	x.Details = r.Details
	x.Resp.Reset()
	if x.GRPC && r.Location == nil {
		x.grpcReply(r)
		return
	}
	var buf [20]byte
	x.Resp.AddID(header.Status, strconv.AppendInt(buf[:0], int64(r.Status), 10))
	if r.Location != nil {
		x.Resp.AddID(header.Location, r.Location)
	}
	body := r.Body
	if len(body) > 0 {
		ct := r.ContentType
		if ct == "" {
			ct = "text/plain"
		}
		x.Resp.AddID(header.ContentLength, strconv.AppendInt(buf[:0], int64(len(body)), 10))
		x.Resp.AddIDString(header.ContentType, ct)
	}
	x.applyOps(&x.Resp, r.Headers)
	x.respondWith(body)
}

func (x *exchange) respondWith(body []byte) {
	head := string(x.Req.Get(header.Method)) == "HEAD"
	if len(body) == 0 || head {
		x.respond(true)
		return
	}
	x.respond(false)
	if x.down == nil || x.closed {
		return
	}
	x.BytesSent += uint64(len(body))
	x.down.SendData(body, true)
	x.responseEnded()
}

func (x *exchange) grpcReply(r filter.Reply) {
	code := r.GRPCStatus
	if code < 0 {
		code = grpcCode(r.Status)
	}
	x.Resp.AddIDString(header.Status, "200")
	x.Resp.AddIDString(header.ContentType, "application/grpc")
	var buf [8]byte
	x.Resp.AddID(header.GRPCStatus, strconv.AppendInt(buf[:0], int64(code), 10))
	if len(r.Body) > 0 {
		x.Resp.AddID(header.GRPCMessage, percentEncode(nil, r.Body))
	}
	x.applyOps(&x.Resp, r.Headers)
	x.respond(true)
}

// grpcCode maps an HTTP status to a gRPC code (gRPC: HTTP to gRPC status code mapping).
func grpcCode(status int) int {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	default:
		return 2
	}
}

// percentEncode is the encoding of grpc-message (gRPC over HTTP/2).
func percentEncode(dst, s []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range s {
		if c < ' ' || c > '~' || c == '%' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
