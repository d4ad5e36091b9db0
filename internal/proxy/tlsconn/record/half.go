package record

import (
	"crypto/cipher"
	"encoding/binary"
	"slices"
)

// Sizes of RFC 8446 §5.
const (
	headerSize = 5
	nonceSize  = 12
	tagSize    = 16
	maxPlain   = 16 << 10
	maxCipher  = maxPlain + 256
	overhead   = headerSize + 1 + tagSize // of a record: header, content type, tag
	maxSecret  = 48
)

// Content types.
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

// half is one direction of a session.
type half struct {
	aead   cipher.AEAD // nil at rest
	used   bool        // since the last Rest
	seq    uint64
	iv     [nonceSize]byte
	nonce  [nonceSize]byte // of the record at hand; here, since what is passed to an AEAD escapes
	secret [maxSecret]byte
}

// ready makes the cipher if there is none.
func (h *half) ready(s *suite) error {
	h.used = true
	if h.aead != nil {
		return nil
	}
	aead, iv, err := s.aead(h.secret[:s.secret])
	if err != nil {
		return err
	}
	h.aead = aead
	copy(h.iv[:], iv)
	return nil
}

// rest drops the cipher unless it was used since the last call, and reports
// whether there is none.
func (h *half) rest() bool {
	if h.used {
		h.used = false
	} else {
		h.aead = nil
	}
	return h.aead == nil
}

// update goes on to the next traffic secret, RFC 8446 §7.2.
func (h *half) update(s *suite) error {
	next, err := s.expand(h.secret[:s.secret], "traffic upd", s.secret)
	if err != nil {
		return err
	}
	copy(h.secret[:], next)
	clear(next)
	h.aead, h.seq = nil, 0
	return nil
}

// next is the nonce of the next record. Sequence numbers cannot wrap: a sender
// updates its key long before, and no receiver lives to see 2^64 records.
func (h *half) next() []byte {
	binary.BigEndian.PutUint64(h.nonce[nonceSize-8:], h.seq)
	clear(h.nonce[:nonceSize-8])
	for i := range h.nonce {
		h.nonce[i] ^= h.iv[i]
	}
	h.seq++
	return h.nonce[:]
}

// seal appends one record to dst. The cipher must be ready.
func (h *half) seal(dst []byte, typ byte, content []byte) []byte {
	n := len(content) + 1 + tagSize
	dst = slices.Grow(dst, headerSize+n)
	head := len(dst)
	dst = append(dst, typeData, 3, 3, byte(n>>8), byte(n))
	body := len(dst)
	dst = append(append(dst, content...), typ)
	return h.aead.Seal(dst[:body], h.next(), dst[body:], dst[head:body])
}

// open decrypts one record into dst, which has the room, and returns its content
// and content type. The cipher must be ready.
func (h *half) open(dst, record []byte) (content []byte, typ byte, ok bool) {
	inner, err := h.aead.Open(dst[:0], h.next(), record[headerSize:], record[:headerSize])
	if err != nil {
		return nil, 0, false
	}
	// The type is the last byte that is not padding.
	for i, typ := range slices.Backward(inner) {
		if typ != 0 {
			return inner[:i], typ, true
		}
	}
	return nil, 0, true // type 0 is never expected
}
