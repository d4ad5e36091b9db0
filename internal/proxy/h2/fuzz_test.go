package h2

import "testing"

// fuzzOne feeds any input in pieces of a size that the input chooses, checks that
// events keep the contract and compares with one piece.
func fuzzOne(t *testing.T, server bool, prefix, in []byte) {
	if len(in) == 0 {
		return
	}
	size := int(in[0]) + 1
	all := append(append([]byte(nil), prefix...), in[1:]...)
	sent, seen, _ := feedPieces(t, server, all)
	var pieces [][]byte
	for rest := all; len(rest) > 0; {
		n := min(size, len(rest))
		pieces = append(pieces, rest[:n])
		rest = rest[n:]
	}
	s, e, _ := feedPieces(t, server, pieces...)
	if s != sent || e != seen {
		t.Fatalf("pieces of %d: sent\n%sinstead of\n%ssaw\n%sinstead of\n%s", size, s, sent, e, seen)
	}
}

// FuzzServer feeds a server with frames behind a good preface.
func FuzzServer(f *testing.F) {
	talk := clientTalk(f)[len(Preface):]
	f.Add(append([]byte{3}, talk...))
	f.Add(append([]byte{255}, "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x86\x84"...))
	for i := 0; i+40 < len(talk); i += 40 {
		f.Add(append([]byte{byte(i)}, talk[:i]...))
	}
	f.Fuzz(func(t *testing.T, in []byte) { fuzzOne(t, true, []byte(Preface), in) })
}

// FuzzClient feeds a client that has three requests open.
func FuzzClient(f *testing.F) {
	talk := serverTalk(f)
	f.Add(append([]byte{3}, talk...))
	for i := 0; i+20 < len(talk); i += 20 {
		f.Add(append([]byte{byte(i)}, talk[:i]...))
	}
	f.Fuzz(func(t *testing.T, in []byte) { fuzzOne(t, false, nil, in) })
}
