package record

import (
	"errors"
	"fmt"
	"io"
)

// errEnded is a caller's mistake, or what is left to send after a failure.
var errEnded = errors.New("TLS session has ended")

// Layer is an established session. It is not for concurrent use.
type Layer struct {
	suite  *suite
	in     half
	out    half
	client bool
	ended  bool   // our close_notify or an alert was sent: nothing may follow
	idle   int    // records in a row that did not bring anything
	kept   []byte // ciphertext that waits for the rest of its record
	off    int    // how much of kept is done with
	plain  []byte // of a record that dst had no room for
	hand   []byte // a handshake message that has not come in full
	reply  []byte // records the peer is owed
	err    error  // the session is over for reading
}

// New makes the layer of a session that was set up with a cipher suite and the
// first application traffic secrets of both directions. ok is false if the suite
// is not one of those known here.
func New(client bool, cipherSuite uint16, read, write []byte) (l *Layer, ok bool) {
	s := suiteOf(cipherSuite)
	if s == nil || len(read) != s.secret || len(write) != s.secret {
		return nil, false
	}
	l = &Layer{suite: s, client: client}
	copy(l.in.secret[:], read)
	copy(l.out.secret[:], write)
	return l, true
}

// Rest drops the ciphers of directions that were not used since the last call; it
// reports whether none is left. They are made anew when needed.
func (l *Layer) Rest() bool {
	in, out := l.in.rest(), l.out.rest()
	return in && out
}

// SealedSize is how long n bytes are once they are sealed.
func SealedSize(n int) int { return n + (n+maxPlain-1)/maxPlain*overhead }

// Seal appends b to dst in as few records as possible.
func (l *Layer) Seal(dst, b []byte) ([]byte, error) {
	if l.ended {
		return dst, errEnded
	}
	for len(b) > 0 {
		n := min(len(b), maxPlain)
		if l.out.seq >= l.suite.records {
			var err error
			if dst, err = l.updateKey(dst); err != nil {
				return dst, err
			}
		}
		if err := l.out.ready(l.suite); err != nil {
			return dst, err
		}
		dst = l.out.seal(dst, typeData, b[:n])
		b = b[n:]
	}
	return dst, nil
}

// updateKey appends a KeyUpdate, which asks for none in return, and goes on with
// the next key.
func (l *Layer) updateKey(dst []byte) ([]byte, error) {
	if err := l.out.ready(l.suite); err != nil {
		return dst, err
	}
	dst = l.out.seal(dst, typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})
	return dst, l.out.update(l.suite)
}

// Close appends close_notify, once.
func (l *Layer) Close(dst []byte) []byte {
	return l.alert(dst, 1, alertCloseNotify)
}

func (l *Layer) alert(dst []byte, level byte, a alert) []byte {
	if l.ended || l.out.ready(l.suite) != nil {
		return dst
	}
	l.ended = true
	return l.out.seal(dst, typeAlert, []byte{level, byte(a)})
}

// Reply is what the peer is owed after an Open: answers to key updates, or an
// alert. It is given out once.
func (l *Layer) Reply() []byte {
	r := l.reply
	l.reply = nil
	return r
}

// Open takes ciphertext and puts plaintext into dst, which it must not overlap.
// more asks for another call, without ciphertext, since dst is full. err is io.EOF
// after the peer's close_notify, AlertError or a ProtocolError; what was decrypted
// before counts all the same. The same error is returned ever after.
func (l *Layer) Open(ciphertext, dst []byte) (n int, more bool, err error) {
	if len(l.plain) > 0 {
		n = copy(dst, l.plain)
		if l.plain = l.plain[n:]; len(l.plain) == 0 {
			l.plain = nil
		}
	}
	for l.err == nil {
		if len(l.plain) > 0 { // dst is full
			l.kept = append(l.kept, ciphertext...)
			return n, true, nil
		}
		var rec []byte
		var whole bool
		if rec, ciphertext, whole = l.next(ciphertext); !whole {
			break
		}
		n += l.take(rec, dst[n:])
	}
	if len(l.plain) > 0 {
		return n, true, nil
	}
	return n, false, l.err
}

// next is the next record: from what was kept, from the ciphertext, or from both.
// What belongs to a record that is not whole yet is kept.
func (l *Layer) next(b []byte) (rec, rest []byte, whole bool) {
	if l.off == len(l.kept) {
		l.kept, l.off = l.kept[:0], 0
		size, ok := l.size(b)
		switch {
		case ok && size <= len(b):
			return b[:size], b[size:], true
		case len(b) == 0:
			l.kept = nil // a connection that waits for a record holds no buffer
		case ok && cap(l.kept) < size:
			l.kept = append(make([]byte, 0, size), b...)
		default:
			// In a bulk transfer each read ends within a record: the buffer stays.
			l.kept = append(l.kept, b...)
		}
		return nil, nil, false
	}
	if b = l.fill(b, headerSize); len(l.kept)-l.off < headerSize {
		return nil, nil, false
	}
	size, ok := l.size(l.kept[l.off:])
	if !ok {
		return nil, nil, false
	}
	if b = l.fill(b, size); len(l.kept)-l.off < size {
		return nil, nil, false
	}
	l.off += size
	return l.kept[l.off-size : l.off], b, true
}

// fill moves bytes of b to what is kept until that is n bytes.
func (l *Layer) fill(b []byte, n int) (rest []byte) {
	k := min(max(n-(len(l.kept)-l.off), 0), len(b))
	l.kept = append(l.kept, b[:k]...)
	return b[k:]
}

// size is how long the record that b begins with is. ok is false if that cannot be
// told, or the header is wrong.
func (l *Layer) size(b []byte) (n int, ok bool) {
	if len(b) < headerSize || l.err != nil {
		return 0, false
	}
	n = int(b[3])<<8 | int(b[4])
	switch {
	case b[0] != typeData:
		l.fail(alertUnexpectedMessage, "a record that is not protected")
	case b[1] != 3 || b[2] != 3:
		l.fail(alertProtocolVersion, "a record of another version")
	case n > maxCipher:
		l.fail(alertRecordOverflow, "a record that is too long")
	case n < 1+tagSize:
		l.fail(alertBadRecordMAC, "a record that is too short")
	default:
		return headerSize + n, true
	}
	return 0, false
}

// take opens one record and returns how much of it was put into dst.
func (l *Layer) take(rec, dst []byte) int {
	if err := l.in.ready(l.suite); err != nil {
		l.err = err
		return 0
	}
	direct := len(rec)-headerSize-tagSize <= len(dst)
	if !direct {
		dst = make([]byte, len(rec))
	}
	content, typ, ok := l.in.open(dst, rec)
	switch {
	case !ok:
		l.fail(alertBadRecordMAC, "a record that does not decrypt")
	case len(content) > maxPlain:
		l.fail(alertRecordOverflow, "a record that is too long")
	case len(l.hand) > 0 && typ != typeHandshake:
		l.fail(alertUnexpectedMessage, "another record within a handshake message")
	case typ == typeData && len(content) == 0:
		l.useless()
	case typ == typeData && direct:
		l.idle = 0
		return len(content)
	case typ == typeData:
		l.idle = 0
		l.plain = content
	case typ == typeHandshake:
		l.handshake(content)
	case typ == typeAlert:
		l.alerted(content)
	default:
		l.fail(alertUnexpectedMessage, fmt.Sprintf("a record of type %d", typ))
	}
	return 0
}

// fail ends the session and tells the peer why.
func (l *Layer) fail(a alert, what string) {
	l.reply = l.alert(l.reply, 2, a)
	l.err = &ProtocolError{What: "peer sent " + what}
	l.drop()
}

// drop forgets what has come and will not be looked at.
func (l *Layer) drop() { l.kept, l.off, l.hand = nil, 0, nil }

// alerted handles an alert of the peer.
func (l *Layer) alerted(b []byte) {
	switch {
	case len(b) != 2:
		l.fail(alertUnexpectedMessage, "a malformed alert")
	case alert(b[1]) == alertCloseNotify:
		l.err = io.EOF
		l.drop() // RFC 8446 §6.1: whatever comes after is ignored
	case alert(b[1]) == alertUserCanceled:
		l.useless() // close_notify follows, or the handshake's alert did
	default:
		l.err = AlertError(b[1])
		l.ended = true // §6.2: the session is over for both
		l.drop()
	}
}
