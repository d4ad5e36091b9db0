package gatewayapi

import "cmp"

// Kinds of conditions on a path, the one that counts most being the greatest.
const (
	pathPrefix = iota
	pathRegex
	pathExact
)

// Rank is what of a match decides which of several that hold counts.
type Rank struct {
	GRPC bool // of a GRPCRoute
	// Path is one of pathPrefix, pathRegex, pathExact. Of a GRPCRoute it is told by
	// lengths alone.
	Path int
	// PathLength is that of the path, or of the service's name; MethodLength that of
	// the gRPC method's name.
	PathLength, MethodLength int
	Method                   bool // of HTTP
	Headers, Query           int  // how many conditions
}

// Compare puts the match first that counts, by the API's rules of precedence: an
// exact path before others, a longer prefix before a shorter one, a method before
// none, more headers, more query parameters. Of GRPCRoutes the longer service, the
// longer method, more headers. Expressions stand between exact paths and
// prefixes, which the API leaves open. 0: the age of the routes decides.
func (r Rank) Compare(s Rank) int {
	if r.GRPC && s.GRPC {
		return cmp.Or(cmp.Compare(s.PathLength, r.PathLength), cmp.Compare(s.MethodLength, r.MethodLength), cmp.Compare(s.Headers, r.Headers))
	}
	return cmp.Or(
		cmp.Compare(s.Path, r.Path), cmp.Compare(s.PathLength, r.PathLength), compareBool(s.Method, r.Method),
		cmp.Compare(s.Headers, r.Headers), cmp.Compare(s.Query, r.Query),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
