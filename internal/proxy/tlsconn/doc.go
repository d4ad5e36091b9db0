// Package tlsconn speaks TLS (crypto/tls) for connections of an event loop.
//
//  1. NewServerConfig and NewClientConfig compile what a listener or an upstream
//     asks for: certificates, trust, who the peer may be, ALPN, versions. Both
//     sources of keys are read anew for each handshake, so rotation touches
//     nothing that is open.
//  2. NewServer and NewClient make a Session for one connection. Start runs its
//     handshake on a goroutine of a bounded Pool; the loop passes ciphertext in by
//     Feed and fetches what is to be sent by TakeOutput.
//  3. When the handshake is done the session belongs to the loop alone: Decrypt
//     and Encrypt work on what is in memory and never wait.
//
// In TLS 1.3 with AES-GCM package record takes over in step 3, from the traffic
// secrets that the handshake has agreed on; crypto/tls and its buffers are dropped.
// TestLayerTakesOver pins how they are told for the Go release in use.
//
// Else crypto/tls goes on, and that rests on one property of it: an error of the
// underlying connection that says Temporary does not stick, and a partial record
// is kept. TestAgainKeepsState pins it.
//
// Session tickets are off: a resumed session would skip the check of the peer's
// identity against the trust of today.
package tlsconn
