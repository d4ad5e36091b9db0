// Package bridge joins the two halves of a local mesh: the host-side process,
// which has the machine's real network, and the node, which has none of it.
//
// The halves share one Unix socket pair. Over it they pass open connections,
// not bytes (SCM_RIGHTS), so each connection costs one message:
//
//   - publish: the host accepts on localhost and hands the connection to the
//     node, which splices it to a pod;
//   - outside: the node asks for a connection to an outside address, and the
//     host dials it and hands it over.
//
// DNS questions for outside names travel as messages. When either half is gone
// the other sees the end of the socket and stops.
package bridge
