package hpack

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// block encodes fields given as name, value, ...
func block(e *Encoder, kv ...string) []byte {
	b := e.Begin(nil)
	for i := 0; i < len(kv); i += 2 {
		b = e.Field(b, header.LookupString(kv[i]), []byte(kv[i]), []byte(kv[i+1]), false)
	}
	return b
}

func TestHuffmanOfEveryOctet(t *testing.T) {
	t.Parallel()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
		one := appendHuffman(nil, all[i:i+1])
		if want := xhpack.AppendHuffmanString(nil, string(all[i:i+1])); !bytes.Equal(one, want) {
			t.Errorf("octet %d: % x, want % x", i, one, want)
		}
	}
	coded := appendHuffman(nil, all)
	if len(coded) != huffmanLen(all) {
		t.Errorf("length %d, announced %d", len(coded), huffmanLen(all))
	}
	if got, err := appendDecoded([]byte("x"), coded); err != nil || string(got) != "x"+string(all) {
		t.Errorf("decoded % x, %v", got, err)
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]Bad{
		"": 0, "a": 0, "a b": 0, "a\tb": 0, "caf\xc3\xa9 in a long value": 0, "12345678": 0, "1234567\t9": 0,
		" a": BadValue, "a ": BadValue, "\ta": BadValue, "a\t": BadValue, "a\rb": BadValue, "a\nb": BadValue,
		"a\x00b": BadValue, "12345678901234\n678": BadValue, "123456\x7f8": BadValue, "1234567\x1f": BadValue,
	} {
		if got := CheckValue([]byte(v)); got != want {
			t.Errorf("CheckValue(%q) = %d, want %d", v, got, want)
		}
	}
	for n, want := range map[string]Bad{
		"x-a": 0, ":path": 0, "a!#$%&'*+-.^_`|~1": 0, "": BadName, "X-a": BadName, "a b": BadName, ":other": BadName,
		"a:": BadName, "a\r": BadName, "a\x80": BadName, "Path": BadName,
	} {
		if got := checkName(header.LookupString(n), []byte(n)); got != want {
			t.Errorf("checkName(%q) = %d, want %d", n, got, want)
		}
	}
}

// TestBadIsRemembered: a bad field is bad again when it comes from the table.
func TestBadIsRemembered(t *testing.T) {
	t.Parallel()
	d := NewDecoder(4096)
	var l header.List
	for _, in := range []string{"4001 41 01 61", "be", "7e 01 62"} { // "A: a", indexed, and its name again
		blk, err := d.Decode(unhex(t, in), &l, noLimits)
		if err != nil || blk.Bad != BadName {
			t.Errorf("%s: bad is %d, %v", in, blk.Bad, err)
		}
	}
}

// TestBomb: a block of 4 kB that would decode to 16 MB is counted, not stored,
// and the table is in step afterwards.
func TestBomb(t *testing.T) {
	t.Parallel()
	d := NewDecoder(4096)
	bomb := append([]byte{0x40, 1, 'a'}, appendString(nil, bytes.Repeat([]byte{'~'}, 4000))...)
	bomb = append(bomb, bytes.Repeat([]byte{0xbe}, 4000)...)
	bomb = append(bomb, 0x40, 1, 'b', 1, 'c') // evicts the other
	var l header.List
	blk, err := d.Decode(bomb, &l, Limits{Bytes: 60 << 10, Fields: 100})
	if err != nil || !blk.Over || blk.Fields != 4002 || blk.Bytes < 16_000_000 {
		t.Fatalf("%+v, %v", blk, err)
	}
	if l.Cap() > 128<<10 {
		t.Errorf("the list holds %d bytes", l.Cap())
	}
	l.Reset()
	if blk, err = d.Decode([]byte{0xbe}, &l, noLimits); err != nil || blk.Over || text(&l) != "b: c\n" {
		t.Errorf("next block decodes to %q, %v", text(&l), err)
	}
}

func TestFieldCountLimit(t *testing.T) {
	t.Parallel()
	var l header.List
	blk, err := NewDecoder(4096).Decode(bytes.Repeat([]byte{0x82}, 101), &l, Limits{Bytes: 1 << 20, Fields: 100})
	if err != nil || !blk.Over || l.Len() != 100 {
		t.Errorf("%+v with %d fields, %v", blk, l.Len(), err)
	}
}

// TestPolicy: what ends up in the table, and what must not.
func TestPolicy(t *testing.T) {
	t.Parallel()
	e := NewEncoder()
	for i := range 5 {
		id := fmt.Sprintf("%032x", i)
		block(e, ":authority", "reviews:9080", "user-agent", "curl", ":path", "/unique/"+id, "x-request-id", id, "date", id,
			"content-length", id, "authorization", "Bearer "+id, "cookie", "session=1", "x-stays", "same", "x-changes", id)
	}
	want := "x-stays: same\nx-request-id: 00000000000000000000000000000000\nuser-agent: curl\n:authority: reviews:9080\n"
	if got := tableText(&e.tab); got != want {
		t.Errorf("table is\n%swant\n%s", got, want)
	}
	for name, kv := range map[string][]string{
		"authorization": {"authorization", "Bearer of a long token that is not short"},
		"short cookie":  {"cookie", "pin=1234"},
		"proxy":         {"proxy-authorization", "Basic 12345"},
	} {
		if b := block(e, kv...); b[0]&0xf0 != 0x10 {
			t.Errorf("%s is not a never-indexed literal: % x", name, b)
		}
	}
}

// TestSensitiveStays: a never-indexed field is one again on the next hop.
func TestSensitiveStays(t *testing.T) {
	t.Parallel()
	var l header.List
	if _, err := NewDecoder(4096).Decode(unhex(t, "1008 7061 7373 776f 7264 0673 6563 7265 74"), &l, noLimits); err != nil {
		t.Fatal(err)
	}
	e := NewEncoder()
	id, name, value, _ := l.Raw(0)
	if b := e.Field(nil, id, name, value, l.Sensitive(0)); b[0] != 0x10 {
		t.Errorf("encoded as % x", b)
	}
}

// TestRepeatedRequestIsSmall: the third request of a kind costs a byte a field,
// whatever the seed of the encoder's hash.
func TestRepeatedRequestIsSmall(t *testing.T) {
	t.Parallel()
	kv := []string{
		":method", "POST", ":scheme", "http", ":authority", "reviews:9080", ":path", "/reviews.Reviews/Get",
		"content-type", "application/grpc", "te", "trailers", "user-agent", "grpc-go/1.85.0", "x-tenant", "blue",
	}
	for range 1000 {
		e := NewEncoder()
		block(e, kv...)
		block(e, kv...)
		if b := block(e, kv...); len(b) != len(kv)/2 {
			t.Fatalf("third request takes %d bytes for %d fields: % x", len(b), len(kv)/2, b)
		}
	}
}

func requestFields(l *header.List) {
	for _, kv := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", "/reviews.Reviews/Get"},
		{":authority", "reviews.default.svc:9080"},
		{"content-type", "application/grpc"},
		{"user-agent", "grpc-go/1.85.0"},
		{"te", "trailers"},
		{"grpc-timeout", "999870u"},
		{"x-request-id", "0e6c1b0c-7d4f-4c8b-9d7a-1a2b3c4d5e6f"},
		{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{"x-forwarded-proto", "http"},
		{"x-tenant", "blue"},
	} {
		l.AddString(kv[0], kv[1])
	}
}

func encodeList(e *Encoder, b []byte, l *header.List) []byte {
	b = e.Begin(b)
	for i := range l.RawLen() {
		id, name, value, _ := l.Raw(i)
		b = e.Field(b, id, name, value, false)
	}
	return b
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	var in, out header.List
	requestFields(&in)
	e, d := NewEncoder(), NewDecoder(4096)
	var b []byte
	var ids [10]string
	for i := range ids {
		ids[i] = strings.Repeat(strconv.Itoa(i), 36)
	}
	n := 0
	round := func() {
		n++
		in.SetString(header.XRequestID, ids[n%10])
		b = encodeList(e, b[:0], &in)
		out.Reset()
		if _, err := d.Decode(b, &out, noLimits); err != nil {
			t.Fatal(err)
		}
		if n%100 == 0 {
			in.Reset()
			requestFields(&in)
		}
	}
	for range 1000 {
		round()
	}
	if a := testing.AllocsPerRun(1000, round); a != 0 {
		t.Errorf("%v allocations a block, want 0", a)
	}
}

func BenchmarkEncode(b *testing.B) {
	var l header.List
	requestFields(&l)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		e := NewEncoder()
		var buf []byte
		for b.Loop() {
			buf = encodeList(e, buf[:0], &l)
		}
		b.ReportMetric(float64(len(buf)), "bytes/block")
	})
	b.Run("xnet", func(b *testing.B) {
		b.ReportAllocs()
		var buf bytes.Buffer
		e := xhpack.NewEncoder(&buf)
		var fields []xhpack.HeaderField
		for i := range l.RawLen() {
			_, name, value, _ := l.Raw(i)
			fields = append(fields, xhpack.HeaderField{Name: string(name), Value: string(value)})
		}
		for b.Loop() {
			buf.Reset()
			for _, f := range fields {
				if err := e.WriteField(f); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(buf.Len()), "bytes/block")
	})
}

func BenchmarkDecode(b *testing.B) {
	var l header.List
	requestFields(&l)
	e := NewEncoder()
	first := encodeList(e, nil, &l)
	second := encodeList(e, nil, &l)
	steady := encodeList(e, nil, &l)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		d := NewDecoder(4096)
		var out header.List
		for _, blk := range [][]byte{first, second} {
			if _, err := d.Decode(blk, &out, noLimits); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			out.Reset()
			if _, err := d.Decode(steady, &out, noLimits); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("xnet", func(b *testing.B) {
		b.ReportAllocs()
		d := xhpack.NewDecoder(4096, func(xhpack.HeaderField) {})
		for _, blk := range [][]byte{first, second} {
			if _, err := d.Write(blk); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			if _, err := d.Write(steady); err != nil {
				b.Fatal(err)
			}
			if err := d.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
