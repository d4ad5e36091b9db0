package accesslog

import (
	"math/rand/v2"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/format"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Keep evaluates a log filter for a finished record (envoy.config.accesslog.v3.AccessLogFilter).
func Keep(f *snapshot.LogFilter, r *flow.Record) bool {
	switch f.Kind {
	case snapshot.LogStatus:
		return compare(f, uint64(max(r.Status, 0)))
	case snapshot.LogDuration:
		return compare(f, uint64(max(r.End, 0).Milliseconds()))
	case snapshot.LogNotHealth:
		return true // the proxy answers no health checks itself
	case snapshot.LogTraceable:
		return r.Sampled
	case snapshot.LogRuntime:
		return sampled(f, r)
	case snapshot.LogAnd:
		for _, s := range f.Subs {
			if !Keep(s, r) {
				return false
			}
		}
		return true
	case snapshot.LogOr:
		for _, s := range f.Subs {
			if Keep(s, r) {
				return true
			}
		}
		return false
	case snapshot.LogHeader:
		return f.Header != nil && f.Header.Match(&r.Req)
	case snapshot.LogResponseFlag:
		return flagged(f.Flags, r.Flags)
	case snapshot.LogGRPCStatus:
		return slices.Contains(f.Statuses, grpcName(r)) != f.Exclude
	case snapshot.LogMetadata:
		return matchMetadata(f, r)
	case snapshot.LogType:
		return slices.Contains(f.Types, format.LogType(r)) != f.Exclude
	case snapshot.LogCEL:
		return f.Expr != nil && f.Expr.True(format.Attributes(r))
	default:
		return false
	}
}

func compare(f *snapshot.LogFilter, v uint64) bool {
	switch want := uint64(f.Value); f.Compare {
	case snapshot.CompareGE:
		return v >= want
	case snapshot.CompareLE:
		return v <= want
	case snapshot.CompareNE:
		return v != want
	default:
		return v == want
	}
}

const million = 1_000_000

// sampled keeps a share: by the request id, so that all proxies keep the same
// requests, or by chance.
func sampled(f *snapshot.LogFilter, r *flow.Record) bool {
	if id := r.Req.Get(header.XRequestID); len(id) > 0 && !f.IndependentRandom {
		return xxhash.Sum64(id)%million < uint64(max(f.Fraction, 0))
	}
	return rand.N(uint64(million)) < uint64(max(f.Fraction, 0))
}

func flagged(want []string, have flow.Flags) bool {
	if len(want) == 0 {
		return have != 0
	}
	if have == 0 {
		return false
	}
	for rest := have; rest != 0; rest &= rest - 1 {
		if slices.Contains(want, (rest & -rest).String()) {
			return true
		}
	}
	return false
}

// grpcNames are those of envoy's GrpcStatusFilter.Status.
var grpcNames = [...]string{
	"OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// grpcName is the response's gRPC status, or the one that its HTTP status stands
// for (gRPC: http-grpc-status-mapping.md).
func grpcName(r *flow.Record) string {
	n := int(r.GRPCStatus)
	if n < 0 || n >= len(grpcNames) {
		switch r.Status {
		case 200:
			n = 0
		case 400:
			n = 13
		case 401:
			n = 16
		case 403:
			n = 7
		case 404:
			n = 12
		case 429, 502, 503, 504:
			n = 14
		default:
			n = 2
		}
	}
	return grpcNames[n]
}

func matchMetadata(f *snapshot.LogFilter, r *flow.Record) bool {
	m := f.Metadata
	if m == nil {
		return f.MatchIfAbsent
	}
	d := r.Dynamic
	if d == nil && r.Conn != nil {
		d = r.Conn.Facts.Dynamic
	}
	if d == nil {
		return f.MatchIfAbsent
	}
	v, ok := d.DynamicMetadata(m.Namespace, m.Path)
	if !ok {
		return f.MatchIfAbsent
	}
	return m.Value.Match(v, true) != m.Invert
}
