package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn/record"
)

// Reason is why TLS failed, in short stable words for access logs.
type Reason string

// Reasons.
const (
	ReasonTimeout       Reason = "tls_handshake_timeout"
	ReasonOverload      Reason = "tls_handshake_overload"
	ReasonNotTLS        Reason = "tls_not_tls"                   // the peer speaks something else
	ReasonClosed        Reason = "tls_connection_closed"         // in the middle of the handshake
	ReasonTruncated     Reason = "tls_truncated"                 // closed without close_notify
	ReasonVersion       Reason = "tls_no_common_version"         //
	ReasonCipher        Reason = "tls_no_common_cipher"          //
	ReasonALPN          Reason = "tls_no_common_alpn"            //
	ReasonAlert         Reason = "tls_alert_received"            // the peer refused; see Err for which alert
	ReasonProtocol      Reason = "tls_protocol_error"            //
	ReasonNoCertificate Reason = "tls_certificate_not_available" // ours has not been issued or loaded yet
	ReasonNoTrust       Reason = "tls_trust_not_available"       // no roots to verify the peer by
	ReasonPeerMissing   Reason = "tls_peer_certificate_missing"
	ReasonPeerUnknown   Reason = "tls_peer_certificate_unknown_authority"
	ReasonPeerExpired   Reason = "tls_peer_certificate_expired"
	ReasonPeerInvalid   Reason = "tls_peer_certificate_invalid"
	ReasonPeerName      Reason = "tls_peer_name_mismatch" // SAN, SPIFFE ID, host name or pin
)

// Error is a failure of TLS on a connection.
type Error struct {
	Reason Reason
	Err    error // details, may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrTruncated) and the like match by reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Err == nil && t.Reason == e.Reason
}

// Errors without details.
var (
	ErrTimeout   = &Error{Reason: ReasonTimeout}
	ErrOverload  = &Error{Reason: ReasonOverload}
	ErrTruncated = &Error{Reason: ReasonTruncated}
	ErrAborted   = &Error{Reason: ReasonClosed}
)

func fail(r Reason, err error) *Error { return &Error{Reason: r, Err: err} }

// classify gives an error of crypto/tls its reason.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	if a := record.AlertError(0); errors.As(err, &a) {
		return fail(ReasonAlert, errors.New(strings.TrimPrefix(a.Error(), "tls: ")))
	}
	if p := (*record.ProtocolError)(nil); errors.As(err, &p) {
		return fail(ReasonProtocol, err)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return fail(ReasonAlert, errors.New(strings.TrimPrefix(op.Err.Error(), "tls: ")))
	}
	var rh tls.RecordHeaderError
	if errors.As(err, &rh) && rh.Conn != nil { // set only for a first record of another protocol
		return fail(ReasonNotTLS, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fail(ReasonClosed, err)
	}
	// crypto/tls has no types for these. TestReasons pins the words.
	text := err.Error()
	for _, m := range [...]struct {
		words  string
		reason Reason
	}{
		{"unsupported versions", ReasonVersion},
		{"protocol version", ReasonVersion},
		{"no cipher suite", ReasonCipher},
		{"unsupported application protocols", ReasonALPN},
		{"didn't provide a certificate", ReasonPeerMissing},
		{"no application protocol", ReasonALPN},
	} {
		if strings.Contains(text, m.words) {
			return fail(m.reason, err)
		}
	}
	return fail(ReasonProtocol, err)
}

// verifyReason gives an error of x509 its reason.
func verifyReason(err error) Reason {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &unknown):
		return ReasonPeerUnknown
	case errors.As(err, &host):
		return ReasonPeerName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ReasonPeerExpired
	default:
		return ReasonPeerInvalid
	}
}

// again is what the in-memory connection says when it is empty. It must be a
// temporary net.Error: crypto/tls then keeps its state (see the package comment).
type again struct{}

func (again) Error() string   { return "no ciphertext at hand" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

var errAgain error = again{}
