package httpconn

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

func TestMessagesAreCountedHoweverTheBodyIsCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(0, 300), 0, 20).Draw(t, "sizes")
		var body []byte
		for _, n := range sizes {
			body = binary.BigEndian.AppendUint32(append(body, 0), uint32(n))
			body = append(body, make([]byte, n)...)
		}
		var c messageCounter
		var got uint64
		for len(body) > 0 {
			k := rapid.IntRange(1, len(body)).Draw(t, "cut")
			got += c.count(body[:k])
			body = body[k:]
		}
		if got != uint64(len(sizes)) {
			t.Fatalf("%d messages counted, %d sent", got, len(sizes))
		}
	})
}
