// Package httpconn is the HTTP connection manager: it runs a codec on a
// downstream connection and takes each request through the filters of its chain
// to an upstream and back.
//
// The path of a request, in order, and why in that order:
//
//  1. The head is checked and normalised (sanitize.go) before anything judges it,
//     so that policy, router and application see the same request.
//  2. The route is found (router.go): filters need to know the rules of the route.
//  3. The filters of the chain run: peer metadata, access control, fault, CORS, …
//     in the order configured. A filter may pause or answer.
//  4. The router finishes the head (rewrites, header changes), asks upstream for a
//     stream, sends, and retries (retry.go) as long as nothing of a response has
//     been sent on.
//  5. The response passes the filters in reverse order and goes out.
//  6. When both directions are over, the record goes to the recorders, and the
//     exchange is used again.
//
// Everything of a request happens on one worker; there are no locks. A request
// pins the snapshot it began with. Back-pressure: each direction stops reading
// its source while its sink has more than the high mark buffered.
package httpconn
