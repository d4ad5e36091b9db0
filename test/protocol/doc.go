// Package protocol tests the data plane as users get it, from a bootstrap file to
// bytes on loopback sockets, against other people's implementations of the
// protocols: gRPC's interoperability cases, net/http, a WebSocket library, h2spec
// if it is installed, and clients that mean harm.
package protocol
