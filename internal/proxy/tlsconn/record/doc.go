// Package record is the record layer of TLS 1.3 (RFC 8446 §5) for the time after
// the handshake, which crypto/tls does: application data, key updates, alerts.
//
// crypto/tls keeps some 6 KiB for a connection for as long as that lives, copies
// each byte once more than needed in either direction, and hands out no way to
// change either. A Layer at rest is a few hundred bytes: the two traffic secrets
// and the sequence numbers. Ciphers are made from them at the next use (Rest).
//
// It does no I/O, never waits and is as strict as crypto/tls: whatever is not
// expected ends the session with the alert that the RFC asks for.
package record
