package record

import "crypto/tls"

// Handshake messages that may come after the handshake.
const (
	messageTicket    = 4
	messageKeyUpdate = 24
)

// maxMessage bounds a handshake message, and maxUseless the records in a row that
// bring no data; both as in crypto/tls.
const (
	maxMessage = 64 << 10
	maxUseless = 16
)

// alert is a code of RFC 8446 §6.
type alert uint8

const (
	alertCloseNotify       alert = 0
	alertUnexpectedMessage alert = 10
	alertBadRecordMAC      alert = 20
	alertRecordOverflow    alert = 22
	alertIllegalParameter  alert = 47
	alertDecodeError       alert = 50
	alertProtocolVersion   alert = 70
	alertUserCanceled      alert = 90
)

// AlertError is the alert by which the peer has ended the session.
type AlertError uint8

func (a AlertError) Error() string { return tls.AlertError(a).Error() }

// ProtocolError is what the peer did against the protocol.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return e.What }

// useless counts a record that brought no data.
func (l *Layer) useless() {
	if l.idle++; l.idle > maxUseless {
		l.fail(alertUnexpectedMessage, "too many records without data")
	}
}

// handshake takes a piece of the handshake's stream.
func (l *Layer) handshake(b []byte) {
	if len(b) == 0 {
		l.fail(alertUnexpectedMessage, "an empty handshake record")
		return
	}
	if l.useless(); l.err != nil {
		return
	}
	l.hand = append(l.hand, b...)
	for l.err == nil && len(l.hand) >= 4 {
		n := int(l.hand[1])<<16 | int(l.hand[2])<<8 | int(l.hand[3])
		if n > maxMessage {
			l.fail(alertDecodeError, "a handshake message that is too long")
			return
		}
		if len(l.hand) < 4+n {
			return
		}
		msg := l.hand[:4+n]
		l.hand = l.hand[4+n:]
		l.message(msg[0], msg[4:])
	}
	if len(l.hand) == 0 {
		l.hand = nil
	}
}

// message handles one handshake message.
func (l *Layer) message(typ byte, body []byte) {
	switch {
	case typ == messageTicket && l.client: // sessions are not resumed
	case typ == messageKeyUpdate:
		l.keyUpdate(body)
	default:
		l.fail(alertUnexpectedMessage, "an unexpected handshake message")
	}
}

// keyUpdate goes on with the peer's next key, and with ours if it asks for that,
// RFC 8446 §4.6.3.
func (l *Layer) keyUpdate(body []byte) {
	switch {
	case len(body) != 1:
		l.fail(alertDecodeError, "a malformed key update")
		return
	case body[0] > 1:
		l.fail(alertIllegalParameter, "an unknown kind of key update")
		return
	case len(l.hand) > 0: // it would be read under the wrong key
		l.fail(alertUnexpectedMessage, "a handshake message behind a key update")
		return
	}
	if body[0] == 1 && !l.ended {
		if l.reply, l.err = l.updateKey(l.reply); l.err != nil {
			return
		}
	}
	l.err = l.in.update(l.suite)
}
