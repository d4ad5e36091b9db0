package app

import "net/http"

// forwarded lists the request headers that a service passes on when it calls
// another one. Without them a mesh can time each hop but not join the hops into
// one trace, nor route the second hop by who the user is.
//
// It is a function and not a variable so that nothing can change it.
func forwarded() []string {
	return []string{
		// The mesh's own id of the request, on every proxy's access log line.
		"X-Request-Id",
		// Who is signed in, and what proves it.
		"End-User", "Cookie", "Authorization", "Jwt",
		// B3, in many headers and in one.
		"X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags", "B3",
		// W3C trace context and baggage.
		"Traceparent", "Tracestate", "Baggage",
		// Tracing systems with headers of their own.
		"X-Ot-Span-Context", "X-Cloud-Trace-Context", "Grpc-Trace-Bin", "Sw8",
		"X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Sampling-Priority",
		// So that routes by browser reach all hops.
		"User-Agent",
	}
}

// forwardHeaders returns the headers of in that belong on calls made for it.
func forwardHeaders(in http.Header) http.Header {
	out := make(http.Header, 8)
	for _, name := range forwarded() {
		if v := in[name]; len(v) > 0 {
			out[name] = v
		}
	}
	return out
}
