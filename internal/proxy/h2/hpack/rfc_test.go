package hpack

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// noLimits lets everything through.
var noLimits = Limits{Bytes: 1 << 30, Fields: 1 << 30}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func text(l *header.List) string {
	var s strings.Builder
	for i := range l.RawLen() {
		_, name, value, _ := l.Raw(i)
		fmt.Fprintf(&s, "%s: %s", name, value)
		if l.Sensitive(i) {
			s.WriteString(" (sensitive)")
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// tableText lists the dynamic table, newest entry first.
func tableText(t *table) string {
	var s strings.Builder
	for i := uint32(1); i <= t.count(); i++ {
		e := t.at(i)
		fmt.Fprintf(&s, "%s: %s\n", t.name(e), t.value(e))
	}
	return s.String()
}

const (
	request1 = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
	request2 = request1 + "cache-control: no-cache\n"
	request3 = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n"

	requestTable1 = ":authority: www.example.com\n"
	requestTable2 = "cache-control: no-cache\n" + requestTable1
	requestTable3 = "custom-key: custom-value\n" + requestTable2

	common    = "cache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n"
	response1 = ":status: 302\n" + common
	response2 = ":status: 307\n" + common
	cookie    = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n"
	encoding  = "content-encoding: gzip\n"
	date3     = "date: Mon, 21 Oct 2013 20:13:22 GMT\n"
	response3 = ":status: 200\ncache-control: private\n" + date3 + "location: https://www.example.com\n" + encoding + cookie

	responseTable1 = "location: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\ncache-control: private\n:status: 302\n"
	responseTable2 = ":status: 307\nlocation: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\ncache-control: private\n"
	responseTable3 = cookie + encoding + date3
)

// TestRFCExamples decodes the examples of RFC 7541 Appendix C. Each row is a
// sequence of blocks on one connection.
func TestRFCExamples(t *testing.T) {
	t.Parallel()
	type step struct{ block, want, table string }
	for _, tc := range []struct {
		name  string
		size  int
		steps []step
	}{
		{"C.2.1 literal with indexing", 4096, []step{
			{"400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header\n", "custom-key: custom-header\n"},
		}},
		{"C.2.2 literal without indexing", 4096, []step{{"040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n", ""}}},
		{"C.2.3 literal never indexed", 4096, []step{{"1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret (sensitive)\n", ""}}},
		{"C.2.4 indexed", 4096, []step{{"82", ":method: GET\n", ""}}},
		{"C.3 requests", 4096, []step{
			{"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", request1, requestTable1},
			{"8286 84be 5808 6e6f 2d63 6163 6865", request2, requestTable2},
			{"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", request3, requestTable3},
		}},
		{"C.4 requests with Huffman coding", 4096, []step{
			{"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", request1, requestTable1},
			{"8286 84be 5886 a8eb 1064 9cbf", request2, requestTable2},
			{"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", request3, requestTable3},
		}},
		{"C.5 responses with eviction", 256, []step{
			{
				"4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
				response1, responseTable1,
			},
			{"4803 3330 37c1 c0bf", response2, responseTable2},
			{
				"88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
				response3, responseTable3,
			},
		}},
		{"C.6 responses with Huffman coding", 256, []step{
			{
				"4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
				response1, responseTable1,
			},
			{"4883 640e ffc1 c0bf", response2, responseTable2},
			{
				"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
				response3, responseTable3,
			},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := NewDecoder(tc.size)
			for i, s := range tc.steps {
				var l header.List
				if _, err := d.Decode(unhex(t, s.block), &l, noLimits); err != nil {
					t.Fatalf("block %d: %v", i+1, err)
				}
				if got := text(&l); got != s.want {
					t.Errorf("block %d decodes to\n%swant\n%s", i+1, got, s.want)
				}
				if got := tableText(&d.tab); got != s.table {
					t.Errorf("table after block %d is\n%swant\n%s", i+1, got, s.table)
				}
			}
		})
	}
}

// TestIntegers has RFC 7541 §C.1 and the bounds.
func TestIntegers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		prefix uint
		v      uint32
		want   string
	}{{5, 10, "0a"}, {5, 1337, "1f9a0a"}, {8, 42, "2a"}, {7, 127, "7f00"}, {4, 15, "0f00"}, {7, maxInteger, "7f80ffffff07"}} {
		if got := hex.EncodeToString(appendInt(nil, 0, tc.prefix, tc.v)); got != tc.want {
			t.Errorf("appendInt(%d, %d) = %s, want %s", tc.prefix, tc.v, got, tc.want)
		}
		got, rest, err := readInt(unhex(t, tc.want+"55"), tc.prefix)
		if err != nil || got != tc.v || len(rest) != 1 {
			t.Errorf("readInt(%s) = %d, %d bytes left, %v", tc.want, got, len(rest), err)
		}
	}
	for name, in := range map[string]string{
		"cut off": "7f80", "above the limit": "7f81ffffff07", "overflow": "7fffffffffffffffffff01", "endless": "7f80808080808080808080808080",
	} {
		if _, _, err := readInt(unhex(t, in), 7); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestBlocksRefused lists what ends the connection with COMPRESSION_ERROR.
func TestBlocksRefused(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"index 0":                           "80",
		"index above the tables":            "be",
		"name index above the tables":       "7f00 0161",
		"string longer than the block":      "0085 61",
		"value missing":                     "04",
		"name missing":                      "00",
		"update after a field":              "8220",
		"update above the limit":            "3fe21f",
		"three updates":                     "202020 82",
		"Huffman: EOS inside":               "0084 ffff ffff 00",
		"Huffman: padding of eight bits":    "0082 1fff 00",
		"Huffman: padding not ones":         "0081 1e 00",
		"Huffman: code cut off":             "0082 fffe 00",
		"Huffman: EOS cut off":              "0083 ff ffff 00",
		"Huffman: padding only of 8 bits":   "0081 ff 00",
		"integer without end as an index":   "ffffffffffff",
		"integer without end as a length":   "007fffffffffffff",
		"integer without end as table size": "3fffffffffff",
	} {
		var l header.List
		if _, err := NewDecoder(4096).Decode(unhex(t, in), &l, noLimits); err == nil {
			t.Errorf("%s: accepted as\n%s", name, text(&l))
		}
	}
}

func TestSizeUpdates(t *testing.T) {
	t.Parallel()
	fill := unhex(t, "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572")
	d := NewDecoder(4096)
	var l header.List
	decode := func(hexBlock string) error {
		_, err := d.Decode(unhex(t, hexBlock), &l, noLimits)
		return err
	}
	if _, err := d.Decode(fill, &l, noLimits); err != nil || d.tab.count() != 1 {
		t.Fatalf("%d entries, %v", d.tab.count(), err)
	}
	if err := decode("20 3fe11f 82"); err != nil { // to 0 and back to 4096: the table is empty
		t.Fatal(err)
	}
	if d.tab.count() != 0 || d.tab.max != 4096 {
		t.Fatalf("%d entries, limit %d", d.tab.count(), d.tab.max)
	}
	d.SetLimit(100)
	if err := decode("82"); err == nil {
		t.Error("a block without the update that is due was accepted")
	}
	if err := decode("3f45 82"); err != nil { // 100
		t.Errorf("update to the new limit: %v", err)
	}
	if err := decode("3f46 82"); err == nil { // 101
		t.Error("update above the new limit was accepted")
	}
}

// TestEncoderAnnouncesSizes follows RFC 7541 §4.2: the smallest size in between
// and the last one.
func TestEncoderAnnouncesSizes(t *testing.T) {
	t.Parallel()
	e := NewEncoder()
	e.SetLimit(0)
	e.SetLimit(1 << 20)
	if got := hex.EncodeToString(e.Begin(nil)); got != "203fe11f" {
		t.Errorf("to 0 and back: %s", got)
	}
	if got := e.Begin(nil); len(got) != 0 {
		t.Errorf("announced again: %x", got)
	}
	e.SetLimit(50)
	e.SetLimit(30)
	if got := hex.EncodeToString(e.Begin(nil)); got != "3e" {
		t.Errorf("to 30: %s", got)
	}
	e.SetLimit(MaxTable * 2)
	e.SetLimit(MaxTable)
	if got := hex.EncodeToString(e.Begin(nil)); got != "3fe11f" {
		t.Errorf("to the largest: %s", got)
	}
}
