// Package xdsserve serves xDS: the aggregated discovery service, delta and state
// of the world, for any resource type. It knows the protocol and nothing of what
// the resources mean.
//
// The caller implements Source: it authenticates a node and gives it a Watch,
// whose Snapshot holds one Set of Resources per type. Usually all proxies of a
// class share one Feed.
//
//	srv := xdsserve.NewServer(xdsserve.Inputs{Source: source, Logger: log})
//	gs := grpc.NewServer(append(srv.GRPCOptions(), grpc.Creds(creds))...)
//	srv.Register(gs)
//	...
//	feed.Publish(snapshot)                   // every session of the class sends what changed
//	srv.Ledger().Wait(ctx, generation)       // until all have acknowledged
//
// How one session works:
//
//  1. One goroutine receives, one sends, and the session's own goroutine holds
//     all state: nothing is locked but the row that the ledger shows.
//  2. Each type has a subscription: names or wildcard, the Set that the client
//     was last told of (base), and the few names that need an answer of their
//     own (owed). What to send is the difference between base and the present
//     Set, so a session keeps no versions per resource.
//  3. At most one response per type is in flight. Until it is acknowledged or
//     refused nothing is queued; afterwards the newest Set counts (latest wins).
//  4. When several types have something to send they go in the order CDS, EDS,
//     LDS, RDS, VHDS, SDS, NDS, rest. Clusters that vanish go last, once the
//     listeners and routes that no longer use them are acknowledged (delta).
//  5. After a cluster changed, its endpoints are sent again even if unchanged:
//     Envoy warms the new cluster and waits for them, without asking.
//
// Bytes are shared: a Resource is serialised once, and a response is a small
// header followed by references to the stored bytes (frame.go has the layout).
package xdsserve
