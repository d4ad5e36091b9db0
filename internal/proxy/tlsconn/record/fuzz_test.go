package record

import (
	"bytes"
	"testing"
)

// Whatever a peer that has the keys sends: it is read alike however it is cut, and
// never more than was sent.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{typeData, 3, 'a', 'b', 'c', typeAlert, 2, 1, 0}, uint16(1))
	f.Add([]byte{typeHandshake, 5, messageKeyUpdate, 0, 0, 1, 0}, uint16(3))
	f.Add([]byte{typeHandshake, 5, messageKeyUpdate, 0, 0, 1, 1, typeData, 1, 'x'}, uint16(9))
	f.Add([]byte{typeHandshake, 4, 4, 0, 0, 2, typeHandshake, 2, 0, 0, typeData, 1, 'x'}, uint16(5))
	f.Add([]byte{0, 0, 99, 1, 1}, uint16(2))
	f.Fuzz(func(t *testing.T, script []byte, cut uint16) {
		build := func() (wire []byte, server *Layer) {
			client, server := pair(t, aes128)
			for b := script; len(b) >= 2; {
				n := min(int(b[1]), len(b)-2)
				wire = append(wire, raw(t, client, b[0], b[2:2+n])...)
				b = b[2+n:]
			}
			return append(wire, script...), server // and garbage behind
		}
		wire, one := build()
		whole, err1 := drain(one, wire, len(wire), 1<<18)
		wire, two := build()
		pieces, err2 := drain(two, wire, int(cut), 50)
		if !bytes.Equal(whole, pieces) || (err1 == nil) != (err2 == nil) || err1 != nil && err1.Error() != err2.Error() {
			t.Errorf("at once %q, %v; in pieces %q, %v", whole, err1, pieces, err2)
		}
		if !bytes.Equal(one.Reply(), two.Reply()) {
			t.Error("the answers differ")
		}
		if len(whole) > len(script) {
			t.Errorf("%d bytes of %d", len(whole), len(script))
		}
	})
}
