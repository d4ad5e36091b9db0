// Package dns is the sidecar's DNS proxy: it answers the names of the mesh from
// the name table that the control plane sends, and forwards everything else to
// the servers the pod had before.
//
//  1. A query for a known host gets its addresses, authoritative, TTL 30 s, in
//     turning order; a known host without an address of the asked family gets an
//     empty answer, so that the resolver does not go on to ask elsewhere.
//  2. A query that a search domain was appended to is answered by a CNAME to the
//     host meant.
//  3. Before the first table has come, queries are answered SERVFAIL: a resolver
//     asks again, while a wrong NXDOMAIN would be believed.
//  4. The rest is forwarded, one server after the other, 5 s each.
package dns
