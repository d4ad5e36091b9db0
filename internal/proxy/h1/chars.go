package h1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes, for one table look-up per byte.
const (
	tokenChar  = 1 << iota // RFC 9110 §5.6.2
	targetChar             // what may be in a request target; no space, no '#'
	hostChar               // what may be in an authority, ':' and brackets included
	digitChar
	hexChar
)

var class = classes()

func classes() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		alpha := 'a' <= b|0x20 && b|0x20 <= 'z' && b < 0x80
		digit := '0' <= b && b <= '9'
		if digit {
			t[c] |= digitChar | hexChar
		}
		if 'a' <= b|0x20 && b|0x20 <= 'f' && b < 0x80 {
			t[c] |= hexChar
		}
		if alpha || digit {
			t[c] |= tokenChar | hostChar
		}
		// Raw bytes above ASCII are let through in a target as other servers do;
		// '#' starts a fragment, which is never sent (RFC 9112 §3.2).
		if b > ' ' && b != 0x7f && b != '#' {
			t[c] |= targetChar
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= tokenChar
	}
	for _, c := range []byte("-._~%[]:") {
		t[c] |= hostChar
	}
	return t
}

func is(c byte, what uint8) bool { return class[c]&what != 0 }

func allAre(b []byte, what uint8) bool {
	for _, c := range b {
		if class[c]&what == 0 {
			return false
		}
	}
	return true
}

func isToken(b []byte) bool { return len(b) > 0 && allAre(b, tokenChar) }

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// scanText returns the index of the first byte from i on that may not be in a
// field value: a control character other than HT (RFC 9110 §5.5), or len(b).
// It looks at eight bytes at a time; the lowest mark of each subtraction is exact.
func scanText(b []byte, i int) int {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		del := w ^ (0x7f * ones)
		m := ((w-0x20*ones)&^w | (del-ones)&^del) & highs
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && (b[i] >= ' ' && b[i] != 0x7f || b[i] == '\t') {
		i++
	}
	return i
}

func isText(b []byte) bool { return scanText(b, 0) == len(b) }

func trimLeft(b []byte, i, end int) int {
	for i < end && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	return i
}

func trimRight(b []byte, start, end int) int {
	for end > start && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	return end
}
