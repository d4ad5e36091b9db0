// Package jwt verifies the tokens of requests (RFC 7519) as the configuration of
// envoy.filters.http.jwt_authn asks: where they are looked for, whose they may be,
// what must hold of them, and what is said about them to those behind.
//
//	c := jwt.New(cfg)                        // for one worker
//	r := c.Check(requirement, headers, now)  // Status, metadata, changes to headers
//
// Only signatures by public keys count: RSA (PKCS 1.5 and PSS), ECDSA and Ed25519.
// Nothing here does I/O or reads a clock.
package jwt
