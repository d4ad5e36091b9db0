// Package hpack is header compression for HTTP/2 (RFC 7541), from and to
// header.List, made for a proxy: it allocates nothing in steady state, indexed
// fields keep the number of their name and the result of their checks in the
// table, and the encoder spends its table on what repeats from request to
// request.
//
//	d := hpack.NewDecoder(4096)
//	blk, err := d.Decode(block, &list, hpack.Limits{Bytes: 60 << 10, Fields: 100})
//
//	e := hpack.NewEncoder()
//	b = e.Begin(b)
//	b = e.Field(b, header.Method, []byte(":method"), []byte("GET"), false)
package hpack
