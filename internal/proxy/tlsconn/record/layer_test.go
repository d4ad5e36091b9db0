package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// pair is both ends of a session.
func pair(tb testing.TB, s suite) (client, server *Layer) {
	tb.Helper()
	up, down := bytes.Repeat([]byte{1}, s.secret), bytes.Repeat([]byte{2}, s.secret)
	id := map[int]uint16{16: 0x1301, 32: 0x1302}[s.key]
	client, ok1 := New(true, id, down, up)
	server, ok2 := New(false, id, up, down)
	if !ok1 || !ok2 {
		tb.Fatal("no layer")
	}
	client.suite, server.suite = &s, &s
	return client, server
}

func mustSeal(tb testing.TB, l *Layer, b []byte) []byte {
	tb.Helper()
	out, err := l.Seal(nil, b)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// raw is a record of any type and content, as a peer may send it.
func raw(tb testing.TB, l *Layer, typ byte, content []byte) []byte {
	tb.Helper()
	if err := l.out.ready(l.suite); err != nil {
		tb.Fatal(err)
	}
	return l.out.seal(nil, typ, content)
}

// drain opens ciphertext in pieces, with buffers of a size.
func drain(l *Layer, b []byte, cut, room int) (plain []byte, err error) {
	buf := make([]byte, room)
	for first := true; first || len(b) > 0; first = false {
		n := min(max(cut, 1), len(b))
		piece := bytes.Clone(b[:n]) // the layer must not keep it
		b = b[n:]
		for more := true; more; {
			var k int
			k, more, err = l.Open(piece, buf)
			plain = append(plain, buf[:k]...)
			clear(piece)
			piece = nil
		}
	}
	return plain, err
}

// Keys of RFC 8448 §3, the client's application data.
func TestKeysOfRFC8448(t *testing.T) {
	t.Parallel()
	secret, _ := hex.DecodeString("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
	key, err := aes128.expand(secret, "key", 16)
	if err != nil || hex.EncodeToString(key) != "17422dda596ed5d9acd890e3c63f5051" {
		t.Errorf("key %x, %v", key, err)
	}
	iv, err := aes128.expand(secret, "iv", nonceSize)
	if err != nil || hex.EncodeToString(iv) != "5b78923dee08579033e523d9" {
		t.Errorf("iv %x, %v", iv, err)
	}
}

// Whatever is sent, however it is cut, with keys changing and ciphers dropped in
// between: it arrives, and so does the end.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, s := range []suite{aes128, aes256} {
		s.records = 5 // a new key every five records
		rapid.Check(t, func(rt *rapid.T) {
			client, server := pair(t, s)
			sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 1000, maxPlain, maxPlain + 1, 100_000}), 0, 8).Draw(rt, "sizes")
			cut := rapid.SampledFrom([]int{1, 4, 100, 20_000, 1 << 20}).Draw(rt, "cut")
			room := rapid.SampledFrom([]int{1000, maxPlain, 1 << 18}).Draw(rt, "room")
			var wire, want []byte
			for i, n := range sizes {
				b := bytes.Repeat([]byte{byte(i)}, n)
				want = append(want, b...)
				from := len(wire)
				var err error
				if wire, err = client.Seal(wire, b); err != nil {
					rt.Fatal(err)
				}
				if got := len(wire) - from; got < SealedSize(n) || got > SealedSize(n)+(n/maxPlain+1)*(5+overhead) {
					rt.Fatalf("%d bytes became %d, not about %d", n, got, SealedSize(n))
				}
				if i%3 == 2 {
					client.Rest()
					client.Rest()
				}
			}
			wire = client.Close(wire)
			got, err := drain(server, wire, cut, room)
			if err != io.EOF || !bytes.Equal(got, want) { //nolint:errorlint // io.Reader's contract
				rt.Fatalf("%d of %d bytes, %v", len(got), len(want), err)
			}
			if len(server.Reply()) > 0 {
				rt.Fatal("an answer to nothing")
			}
		})
	}
}

// A peer that asks for a new key gets ours too, and goes on reading.
func TestKeyUpdateOnRequest(t *testing.T) {
	t.Parallel()
	client, server := pair(t, aes128)
	wire := raw(t, client, typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, 1})
	if err := client.out.update(client.suite); err != nil {
		t.Fatal(err)
	}
	wire = append(wire, mustSeal(t, client, []byte("under the new key"))...)
	if got, err := drain(server, wire, len(wire), 1000); err != nil || string(got) != "under the new key" {
		t.Fatalf("%q, %v", got, err)
	}
	answer := append(server.Reply(), mustSeal(t, server, []byte("so do I"))...)
	if got, err := drain(client, answer, 3, 1000); err != nil || string(got) != "so do I" {
		t.Errorf("%q, %v", got, err)
	}
	if client.in.seq != 1 || server.in.seq != 1 {
		t.Error("the key was not changed in both directions")
	}
}

// What a peer may not send ends the session with the alert that the RFC asks for.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ticket := append([]byte{messageTicket, 0, 0, 9}, make([]byte, 9)...)
	update := []byte{messageKeyUpdate, 0, 0, 1, 0}
	for name, c := range map[string]struct {
		send  func(*Layer) []byte
		alert alert
	}{
		"in the clear":        {func(*Layer) []byte { return []byte{typeAlert, 3, 3, 0, 2, 1, 0} }, alertUnexpectedMessage},
		"change cipher spec":  {func(*Layer) []byte { return []byte{20, 3, 3, 0, 1, 1} }, alertUnexpectedMessage},
		"another version":     {func(*Layer) []byte { return append([]byte{typeData, 3, 1, 0, 20}, make([]byte, 20)...) }, alertProtocolVersion},
		"too long":            {func(*Layer) []byte { return []byte{typeData, 3, 3, 0x41, 1} }, alertRecordOverflow},
		"too short":           {func(*Layer) []byte { return append([]byte{typeData, 3, 3, 0, 16}, make([]byte, 16)...) }, alertBadRecordMAC},
		"forged":              {func(*Layer) []byte { return append([]byte{typeData, 3, 3, 0, 20}, make([]byte, 20)...) }, alertBadRecordMAC},
		"content too long":    {func(l *Layer) []byte { return raw(t, l, typeData, make([]byte, maxPlain+1)) }, alertRecordOverflow},
		"nothing but padding": {func(l *Layer) []byte { return raw(t, l, 0, make([]byte, 9)) }, alertUnexpectedMessage},
		"unknown type":        {func(l *Layer) []byte { return raw(t, l, 99, []byte("?")) }, alertUnexpectedMessage},
		"malformed alert":     {func(l *Layer) []byte { return raw(t, l, typeAlert, []byte{1}) }, alertUnexpectedMessage},
		"empty handshake":     {func(l *Layer) []byte { return raw(t, l, typeHandshake, nil) }, alertUnexpectedMessage},
		"ticket for a server": {func(l *Layer) []byte { return raw(t, l, typeHandshake, ticket) }, alertUnexpectedMessage},
		"hello request":       {func(l *Layer) []byte { return raw(t, l, typeHandshake, []byte{0, 0, 0, 0}) }, alertUnexpectedMessage},
		"huge message":        {func(l *Layer) []byte { return raw(t, l, typeHandshake, []byte{4, 1, 0, 1}) }, alertDecodeError},
		"long key update":     {func(l *Layer) []byte { return raw(t, l, typeHandshake, []byte{24, 0, 0, 2, 0, 0}) }, alertDecodeError},
		"odd key update":      {func(l *Layer) []byte { return raw(t, l, typeHandshake, []byte{24, 0, 0, 1, 2}) }, alertIllegalParameter},
		"behind a key update": {func(l *Layer) []byte { return raw(t, l, typeHandshake, append(bytes.Clone(update), 24)) }, alertUnexpectedMessage},
		"data in a message": {func(l *Layer) []byte {
			return append(raw(t, l, typeHandshake, update[:3]), mustSeal(t, l, []byte("x"))...)
		}, alertUnexpectedMessage},
		"endless empty data":    {func(l *Layer) []byte { return flood(t, l, typeData, nil) }, alertUnexpectedMessage},
		"endless user_canceled": {func(l *Layer) []byte { return flood(t, l, typeAlert, []byte{1, 90}) }, alertUnexpectedMessage},
		"a message byte by byte": {func(l *Layer) []byte {
			return append(raw(t, l, typeHandshake, []byte{4, 0, 1}), flood(t, l, typeHandshake, []byte{0})...)
		}, alertUnexpectedMessage},
		"replay of the same record": {func(l *Layer) []byte { r := raw(t, l, typeData, []byte("x")); return append(bytes.Clone(r), r...) }, alertBadRecordMAC},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := pair(t, aes128)
			wire := c.send(client)
			_, err := drain(server, wire, len(wire), 1<<18)
			var p *ProtocolError
			if !errors.As(err, &p) {
				t.Fatalf("ended with %v", err)
			}
			if _, again := drain(server, []byte("anything"), 8, 100); again != err { //nolint:errorlint // the very same
				t.Errorf("then with %v", again)
			}
			if _, err := server.Seal(nil, []byte("x")); err == nil {
				t.Error("data could follow the alert")
			}
			_, err = drain(client, server.Reply(), 1<<20, 1000)
			var a AlertError
			if !errors.As(err, &a) || alert(a) != c.alert {
				t.Errorf("the peer is told %v, want %d", err, c.alert)
			}
		})
	}
}

func flood(tb testing.TB, l *Layer, typ byte, content []byte) (b []byte) {
	for range maxUseless + 1 {
		b = append(b, raw(tb, l, typ, content)...)
	}
	return b
}

// Tickets are of no use to a client and do no harm, in whatever pieces they come.
func TestTicketsAreIgnored(t *testing.T) {
	t.Parallel()
	client, server := pair(t, aes128)
	ticket := append([]byte{messageTicket, 0, 0x40, 0}, make([]byte, 16<<10)...)
	wire := raw(t, server, typeHandshake, ticket[:maxPlain])
	wire = append(wire, raw(t, server, typeHandshake, ticket[maxPlain:])...)
	wire = append(wire, mustSeal(t, server, []byte("data"))...)
	if got, err := drain(client, wire, 7, 100); err != nil || string(got) != "data" {
		t.Errorf("%q, %v", got, err)
	}
	if client.hand != nil || client.kept != nil {
		t.Error("buffers stay")
	}
}

// An alert of the peer ends both directions, and close_notify only its own.
func TestAlertsOfThePeer(t *testing.T) {
	t.Parallel()
	client, server := pair(t, aes128)
	if _, err := drain(server, client.Close(nil), 100, 100); err != io.EOF { //nolint:errorlint // io.Reader's contract
		t.Errorf("close_notify gave %v", err)
	}
	if got, err := drain(client, mustSeal(t, server, []byte("still")), 100, 100); err != nil || string(got) != "still" {
		t.Errorf("%q, %v", got, err)
	}
	if client.Close(nil) != nil {
		t.Error("closed twice")
	}
	_, err := drain(client, raw(t, server, typeAlert, []byte{2, 42}), 100, 100)
	if err == nil || err.Error() != "tls: bad certificate" {
		t.Errorf("an alert gave %v", err)
	}
}

// The budget: a record of a session in use allocates nothing, and a session at
// rest holds neither ciphers nor buffers.
func TestBudget(t *testing.T) {
	client, server := pair(t, aes128)
	data, wire, plain := make([]byte, 1000), make([]byte, 0, 2000), make([]byte, 2000)
	one := func() {
		var err error
		if wire, err = client.Seal(wire[:0], data); err != nil {
			t.Fatal(err)
		}
		if n, _, err := server.Open(wire, plain); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	one()
	if n := testing.AllocsPerRun(100, one); n != 0 {
		t.Errorf("%v allocations for a record", n)
	}
	for _, l := range []*Layer{client, server} {
		if l.Rest() {
			t.Error("a session rests that was used a moment ago")
		}
		if !l.Rest() || l.in.aead != nil || l.out.aead != nil || l.kept != nil || l.plain != nil {
			t.Error("a session at rest holds memory")
		}
	}
	if n := unsafe.Sizeof(Layer{}); n > 384 {
		t.Errorf("a session at rest is %d bytes", n)
	}
	one()
}
