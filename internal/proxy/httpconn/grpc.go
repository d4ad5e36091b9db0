package httpconn

import "encoding/binary"

// messageCounter counts the messages of a gRPC body as it passes: each is a flag
// byte, a length of four bytes and that many bytes (gRPC over HTTP/2,
// Length-Prefixed-Message). The zero value stands before the first one.
type messageCounter struct {
	head [5]byte
	have uint8  // bytes of head that have come
	left uint32 // bytes of the message that have not
}

// count takes the next piece of a body and returns how many messages begin in it.
func (c *messageCounter) count(b []byte) (n uint64) {
	for len(b) > 0 {
		if c.left > 0 {
			k := min(uint32(len(b)), c.left)
			c.left -= k
			b = b[k:]
			continue
		}
		k := copy(c.head[c.have:], b)
		c.have += uint8(k)
		b = b[k:]
		if int(c.have) == len(c.head) {
			c.left, c.have = binary.BigEndian.Uint32(c.head[1:]), 0
			n++
		}
	}
	return n
}
