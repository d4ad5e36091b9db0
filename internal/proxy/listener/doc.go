// Package listener is the way of a connection from the listening socket to the
// code that serves it. One Manager per process puts a snapshot's listeners into
// force; each connection then stays on the worker that accepted it:
//
//  1. The socket's listener hands over to the virtual listener of the original
//     destination, if it is told to and there is one.
//  2. The listener's filters look at the first bytes: PROXY protocol, TLS, HTTP;
//     only those whose finding some chain depends on (sniff.go).
//  3. The chain is chosen, and TLS is set up if it has any (chain.go).
//  4. The network filters judge the connection (filters.go). What they do not
//     know, or cannot do, closes it.
//  5. The HTTP or TCP handler of the worker takes over.
//
// Servers that speak first: a client that stays silent is not waited for when a
// plain TCP chain would serve it as it is. Its endpoint is then dialed, and
// whoever speaks first decides: the server, and the bytes are relayed; the
// client, and its bytes choose the chain as if nothing had been dialed.
//
// A new snapshot leaves alone what it does not change: sockets are kept by
// address, connections by chain. Connections of chains that are gone are drained.
package listener
