package hpack

import "errors"

var (
	errTruncated = errors.New("hpack: header block ends inside of a field")
	errInteger   = errors.New("hpack: integer too large")
)

// maxInteger is the largest integer accepted; no index, length or table size
// comes near it.
const maxInteger = 1<<31 - 1

// readInt reads an integer with an n-bit prefix (RFC 7541 §5.1) and returns
// what follows.
func readInt(b []byte, n uint) (uint32, []byte, error) {
	mask := byte(1<<n - 1)
	v := uint64(b[0] & mask)
	b = b[1:]
	if v < uint64(mask) {
		return uint32(v), b, nil
	}
	for shift := uint(0); shift < 63; shift += 7 {
		if len(b) == 0 {
			return 0, nil, errTruncated
		}
		c := b[0]
		b = b[1:]
		v += uint64(c&0x7f) << shift
		if v > maxInteger {
			return 0, nil, errInteger
		}
		if c&0x80 == 0 {
			return uint32(v), b, nil
		}
	}
	return 0, nil, errInteger
}

// appendInt appends an integer with an n-bit prefix; first holds the bits above it.
func appendInt(dst []byte, first byte, n uint, v uint32) []byte {
	limit := uint32(1)<<n - 1
	if v < limit {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}
