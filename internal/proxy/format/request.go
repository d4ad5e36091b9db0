package format

import (
	"bytes"
	"strconv"

	"google.golang.org/grpc/codes"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// grpcSnake are the names of the protocol (grpc/status.md).
var grpcSnake = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func appendGRPC(dst []byte, p *snapshot.FormatPart, r *flow.Record) ([]byte, bool) {
	if !r.GRPC || r.GRPCStatus < 0 {
		return dst, false
	}
	n := int(r.GRPCStatus)
	number := p.Op == snapshot.OpGRPCStatusNumber || p.Text == "NUMBER" || n >= len(grpcSnake)
	switch {
	case number:
		return strconv.AppendInt(dst, int64(n), 10), true
	case p.Text == "SNAKE_STRING":
		return append(dst, grpcSnake[n]...), true
	default:
		return append(dst, codes.Code(n).String()...), true
	}
}

// path is the path the client asked for (orig), or the one that was forwarded.
func path(r *flow.Record, orig bool) []byte {
	if orig {
		return r.OriginalPath
	}
	return r.Req.Get(header.Path)
}

// appendPath gives PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH), QUERY_PARAM(x) and QUERY_PARAMS.
func appendPath(dst []byte, p *snapshot.FormatPart, r *flow.Record) ([]byte, bool) {
	v := path(r, true)
	switch {
	case p.Op != snapshot.OpPath || p.Alt == "PATH" || len(v) == 0 && p.Alt != "ORIG":
		v = path(r, false)
	}
	bare, query, hasQuery := bytes.Cut(v, []byte("?"))
	switch p.Op {
	case snapshot.OpQueryParams:
		return append(dst, query...), hasQuery && len(query) > 0
	case snapshot.OpQueryParam:
		for len(query) > 0 {
			var kv []byte
			kv, query, _ = bytes.Cut(query, []byte("&"))
			if k, val, _ := bytes.Cut(kv, []byte("=")); string(k) == p.Text {
				return append(dst, val...), true
			}
		}
		return dst, false
	default:
		if p.Text == "NQ" {
			v = bare
		}
		return append(dst, v...), len(v) > 0
	}
}

// metadata finds the values of operators that name metadata or filter state.
func metadata(p *snapshot.FormatPart, r *flow.Record) (any, bool) {
	switch p.Op {
	case snapshot.OpDynamicMetadata:
		if d := dynamic(r); d != nil {
			return d.DynamicMetadata(p.Text, p.Path)
		}
	case snapshot.OpFilterState:
		if d := dynamic(r); d != nil {
			v, ok := d.FilterState(p.Text)
			return string(v), ok
		}
	case snapshot.OpClusterMetadata:
		if r.Cluster != nil {
			return r.Cluster.Metadata.Lookup(p.Text, p.Path)
		}
	case snapshot.OpRouteMetadata:
		if r.Route != nil {
			return r.Route.Metadata.Lookup(p.Text, p.Path)
		}
	case snapshot.OpUpstreamHostMetadata:
		if r.Endpoint != nil && r.Endpoint.Info != nil {
			return r.Endpoint.Info.Metadata.Lookup(p.Text, p.Path)
		}
	default:
	}
	return nil, false
}

// dynamic is the dynamic metadata of the request, else of its connection.
func dynamic(r *flow.Record) snapshot.Dynamic {
	if r.Dynamic != nil {
		return r.Dynamic
	}
	if r.Conn != nil {
		return r.Conn.Facts.Dynamic
	}
	return nil
}
