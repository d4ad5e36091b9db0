// Package tcp relays bytes between a client and an endpoint (the TCP proxy of a
// chain). One Proxy per worker; everything happens on that worker.
//
//  1. ServeConn chooses the cluster and dials at once, whether or not the client
//     has sent anything: protocols in which the server speaks first work.
//  2. Until the endpoint is up the client is not read; what it sends waits in the
//     kernel, so that another endpoint can be tried without keeping bytes.
//  3. Then both directions run on their own. Each stops reading its source while
//     its sink has more than the high mark waiting. The end of one direction is
//     passed on as the end of that half; a reset as a reset.
//  4. When both connections are over, the record goes to the recorder.
//
// Between sidecars that agreed on istio-peer-exchange, each direction begins with
// a message that describes the sender (exchange.go); it is taken out here.
package tcp
