package hpack

import "github.com/meshctl/meshctl/internal/proxy/header"

// policy says what the encoder does with a field.
type policy uint8

const (
	// second: index a pair of name and value when it is seen again, so that what
	// never repeats costs no place in the table. The rule for all other fields.
	second policy = iota
	// first: index at first sight; values hardly change on a connection.
	first
	// unique: the value is another one in each message. The name may be indexed.
	unique
	// literal: not indexed, but not secret enough to forbid it to others.
	literal
	// never: not indexed by anyone on the way (RFC 7541 §7.1.3).
	never
)

// shortCookie is the length below which a cookie could be guessed piecewise
// through the compression (RFC 7541 §7.1.3), in bytes.
const shortCookie = 20

var policies = buildPolicies()

func buildPolicies() (t [header.NumIDs]policy) {
	for _, id := range []header.ID{
		header.Authority, header.Scheme, header.Method, header.Status, header.UserAgent, header.ContentType,
		header.TE, header.Server, header.Accept, header.XForwardedProto, header.GRPCStatus, header.Via,
		header.PeerMetadataID, header.XEnvoyDecoratorOperation, header.XEnvoyAttemptCount, header.XEnvoyInternal,
	} {
		t[id] = first
	}
	for _, id := range []header.ID{
		header.ContentLength, header.Date, header.XRequestID, header.Traceparent, header.Tracestate, header.B3,
		header.B3TraceID, header.B3SpanID, header.B3ParentSpanID, header.GRPCTimeout, header.GRPCMessage,
		header.XEnvoyUpstreamServiceTime, header.XEnvoyExpectedRqTimeoutMs, header.Location, header.Baggage,
	} {
		t[id] = unique
	}
	t[header.Cookie], t[header.SetCookie] = literal, literal
	t[header.Authorization] = never
	return t
}

func policyOf(id header.ID, name, value []byte, sensitive bool) policy {
	if sensitive {
		return never
	}
	switch p := policies[id]; p {
	case literal:
		if len(value) < shortCookie {
			return never
		}
		return p
	case second:
		if id == header.Other && string(name) == "proxy-authorization" {
			return never
		}
		return p
	default:
		return p
	}
}
