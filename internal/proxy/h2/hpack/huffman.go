package hpack

import "errors"

// errHuffman covers a wrong padding, an EOS symbol inside of a string and a
// code that is cut off (RFC 7541 §5.2).
var errHuffman = errors.New("hpack: invalid Huffman-coded string")

const (
	eosSymbol  = 256
	eosLen     = 30
	lookupBits = 10 // codes up to this length are found by one look-up
)

// codeLen is the length in bits of each octet's code (RFC 7541 Appendix B). The
// code is canonical: codes follow from lengths.
var codeLen = [256]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
}

// huffman is the code in the forms the coder needs; read-only.
var huffman = buildHuffman()

type huffmanTables struct {
	code   [256]uint32             // code of an octet, right aligned
	lookup [1 << lookupBits]uint16 // first bits -> symbol<<8 | length; 0 if the code is longer
	first  [eosLen + 1]uint32      // first code of a length
	count  [eosLen + 1]uint32      // number of codes of a length
	start  [eosLen + 1]uint16      // where symbols of a length begin
	symbol [eosSymbol + 1]uint16   // symbols ordered by code
}

func buildHuffman() *huffmanTables {
	t := new(huffmanTables)
	code, at := uint32(0), uint16(0)
	for l := uint8(1); l <= eosLen; l++ {
		code <<= 1
		t.first[l], t.start[l] = code, at
		for s := 0; s <= eosSymbol; s++ {
			if s == eosSymbol && l != eosLen || s < eosSymbol && codeLen[s] != l {
				continue
			}
			t.symbol[at] = uint16(s)
			at++
			if s < eosSymbol {
				t.code[s] = code
			}
			if l <= lookupBits {
				from := code << (lookupBits - l)
				for i := range uint32(1) << (lookupBits - l) {
					t.lookup[from+i] = uint16(s)<<8 | uint16(l)
				}
			}
			code++
		}
		t.count[l] = code - t.first[l]
	}
	return t
}

// huffmanLen is the length of s when coded, in bytes.
func huffmanLen(s []byte) int {
	n := 0
	for _, c := range s {
		n += int(codeLen[c])
	}
	return (n + 7) / 8
}

// appendHuffman appends the code of s.
func appendHuffman(dst, s []byte) []byte {
	var acc uint64
	var n uint
	for _, c := range s {
		l := uint(codeLen[c])
		acc = acc<<l | uint64(huffman.code[c])
		n += l
		if n >= 32 {
			n -= 32
			w := uint32(acc >> n)
			dst = append(dst, byte(w>>24), byte(w>>16), byte(w>>8), byte(w))
		}
	}
	for n >= 8 {
		n -= 8
		dst = append(dst, byte(acc>>n))
	}
	if n > 0 { // pad with the first bits of EOS, which are ones
		dst = append(dst, byte(acc<<(8-n))|byte(0xff>>n))
	}
	return dst
}

// appendDecoded appends the text coded in s.
func appendDecoded(dst, s []byte) ([]byte, error) {
	t := huffman
	at := len(dst)
	if need := at + len(s)*8/5 + 1; cap(dst) < need { // the shortest code has 5 bits
		dst = append(make([]byte, 0, need), dst...)
	}
	out := dst[:cap(dst)]
	var acc uint64
	var n uint // bits of acc not yet used
	for {
		for n <= 56 && len(s) > 0 {
			acc = acc<<8 | uint64(s[0])
			s = s[1:]
			n += 8
		}
		var e uint16
		if n >= lookupBits {
			e = t.lookup[acc>>(n-lookupBits)&(1<<lookupBits-1)]
		} else {
			short := lookupBits - n
			e = t.lookup[(acc<<short|(1<<short-1))&(1<<lookupBits-1)]
		}
		l := uint(e & 0xff)
		if l != 0 && l <= n {
			out[at] = byte(e >> 8)
			at++
			n -= l
			continue
		}
		if n < lookupBits { // what is left must be padding
			if mask := uint64(1)<<n - 1; n >= 8 || acc&mask != mask {
				return dst, errHuffman
			}
			return out[:at], nil
		}
		sym, l := t.long(acc, n)
		if l == 0 || sym == eosSymbol {
			return dst, errHuffman
		}
		out[at] = byte(sym)
		at++
		n -= l
	}
}

// long finds a code of more than lookupBits bits; the length is 0 if there is none.
func (t *huffmanTables) long(acc uint64, n uint) (sym uint16, l uint) {
	for l = lookupBits + 1; l <= eosLen && l <= n; l++ {
		code := uint32(acc>>(n-l)) & (1<<l - 1)
		if i := code - t.first[l]; code >= t.first[l] && i < t.count[l] {
			return t.symbol[t.start[l]+uint16(i)], l
		}
	}
	return 0, 0
}
