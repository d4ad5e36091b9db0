// Package proxy is the native data plane: it takes xDS resources, compiles
// them to an immutable snapshot and serves traffic by it on event-loop workers.
//
// The rooms, in the order in which a configuration and then a request pass them:
//
//  1. xdsclient receives resources and keeps their raw bytes.
//  2. compile turns them into a snapshot.Snapshot, or says which field it refuses.
//  3. engine workers pick the snapshot up between two turns, bind and drain listeners.
//  4. A connection is accepted, detect looks at its first bytes, a filter chain is
//     chosen, tlsconn unwraps it.
//  5. tcp relays bytes, or httpconn runs a codec (h1, h2) and, for each request,
//     the filter list of its chain, ending in the router.
//  6. The router asks route for the decision and upstream for a connection.
//  7. stats, accesslog and trace record what happened; admin shows it.
package proxy
