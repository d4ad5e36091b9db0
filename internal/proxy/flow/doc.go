// Package flow holds what is known of one connection and of one request while
// and after it passes the proxy: the facts that policies look at, and the record
// that access logs, metrics and traces are made of. Values only; no behaviour.
package flow
