// Package route finds the route of a request in a compiled route table, and
// evaluates what the route says about the path, the host and the hash.
//
// Find does not allocate. Explain gives the same answer by the same matcher,
// with the reason why each earlier route was passed over, for people.
package route
