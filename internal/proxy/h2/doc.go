// Package h2 is the HTTP/2 codec (RFC 9113) behind the contract of package
// codec: bytes in by Feed, events out by codec.Receiver, bytes out through
// codec.Transport. It does no I/O, starts no goroutine and sets no timer.
//
//	c := h2.NewServer(transport, acceptor, codec.Limits{}, h2.Options{Pool: pool})
//	n, err := c.Feed(bytes)
//
// How it works, in the order of the files:
//
//  1. feed.go cuts the input into frames. DATA is passed on as it comes, other
//     frames are handled when they are complete.
//  2. headers.go assembles header blocks and decodes each of them, wanted or
//     not, so that the compression state stays in step; message.go checks what
//     came out (RFC 9113 §8).
//  3. recv.go keeps the receive windows, send.go the send windows and the round
//     robin among streams which have something to send.
//  4. control.go has SETTINGS, PING, GOAWAY, RST_STREAM and WINDOW_UPDATE.
//  5. flood.go bounds how often a peer may do what is legal but costs us.
//
// The transport's marks must be those of codec.Limits: data is held back while
// Buffered is above HighWater, and Writable is what sets it going again.
//
// A codec.Stream must not be used after its exchange is over: when both halves
// have ended, OnReset was called or Reset was called. Calls made before control
// returns to the owner of the connection (within the same Feed) do no harm; a
// later one may hit another exchange, since streams are used again.
package h2
