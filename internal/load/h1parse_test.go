package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

func TestResponses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in    string
		head  bool
		code  int
		rest  string // what belongs to the next answer
		close bool
		err   string // "" for none
	}{
		"length":             {in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokNEXT", code: 200, rest: "NEXT"},
		"no reason":          {in: "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", code: 404},
		"chunked":            {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\nNEXT", code: 200, rest: "NEXT"},
		"both":               {in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", code: 200, close: true},
		"head":               {in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nNEXT", head: true, code: 200, rest: "NEXT"},
		"204":                {in: "HTTP/1.1 204 No Content\r\n\r\nNEXT", code: 204, rest: "NEXT"},
		"304":                {in: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nNEXT", code: 304, rest: "NEXT"},
		"interim":            {in: "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nNEXT", code: 200, rest: "NEXT"},
		"101":                {in: "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nNEXT", code: 101, rest: "NEXT", close: true},
		"close":              {in: "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", code: 200, close: true},
		"to the end":         {in: "HTTP/1.1 200 OK\r\n\r\nsome body", code: 200, close: true},
		"1.0":                {in: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", code: 200, close: true},
		"1.0 alive":          {in: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", code: 200},
		"bare LF":            {in: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", code: 200},
		"same length twice":  {in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", code: 200},
		"two lengths":        {in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", err: "two different"},
		"bad length":         {in: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", err: "bad content length"},
		"bad chunk":          {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n", err: "bad chunk"},
		"long chunk":         {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", err: "longer than its size"},
		"huge chunk":         {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", err: "too large"},
		"bad encoding":       {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", err: "unknown transfer encoding"},
		"no status":          {in: "SSH-2.0-OpenSSH_9.2\r\n", err: "no HTTP/1.x status line"},
		"header without end": {in: "HTTP/1.1 200 OK\r\nbroken\r\n\r\n", err: "without a name"},
		"long line":          {in: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", err: "line too long"},
		"endless headers":    {in: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("x", 1000)+"\r\n", 100), err: "headers too large"},
		"endless interim":    {in: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), err: "too many interim"},
		"cut short":          {in: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", err: "closed"},
		"nothing":            {in: "", err: "closed"},
	} {
		// One byte at a time must make no difference.
		for _, r := range []io.Reader{strings.NewReader(tc.in), iotest.OneByteReader(strings.NewReader(tc.in))} {
			br := bufio.NewReaderSize(r, 16<<10)
			p := responseParser{head: tc.head}
			res, err := p.read(br)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%s: %v, want %q in it", name, err, tc.err)
				}
				continue
			}
			rest, _ := io.ReadAll(br)
			if err != nil || res.code != tc.code || res.close != tc.close || string(rest) != tc.rest || res.size != int64(len(tc.in)-len(rest)) {
				t.Errorf("%s: %+v, rest %q, err %v", name, res, rest, err)
			}
		}
	}
}

func TestBodyGroup(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 2*maxGrouped)
	for in, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nversion: v3;":                                   "v3",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nversion\r\n4\r\n: v2\r\n0\r\n\r\n": "v2",
		"HTTP/1.1 200 OK\r\n\r\nversion: v1":                                                          "v1",
		"HTTP/1.1 200 OK\r\n\r\n" + big + "version: v1":                                               "",
	} {
		p := responseParser{groupBody: regexp.MustCompile(`version: (v\d)`)}
		res, err := p.read(bufio.NewReaderSize(strings.NewReader(in), 16<<10))
		if err != nil || res.group != want {
			t.Errorf("got %q, %v, want %q", res.group, err, want)
		}
	}
}

// FuzzResponse: no input may panic, and whatever net/http reads in full and we
// accept must have the same status.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 100 x\r\n\r\nHTTP/1.1 204\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p := responseParser{groupHeader: []byte("x"), groupBody: regexp.MustCompile("a+")}
		res, err := p.read(bufio.NewReaderSize(bytes.NewReader(in), 16<<10))
		if res.size > int64(len(in)) {
			t.Fatalf("read %d of %d bytes", res.size, len(in))
		}
		if err != nil {
			var bad protocolError
			if !errors.As(err, &bad) && !errors.Is(err, errClosed) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if std, stdErr := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), nil); stdErr == nil {
			if std.StatusCode >= 200 && std.StatusCode != res.code {
				t.Fatalf("status %d, net/http says %d", res.code, std.StatusCode)
			}
		}
	})
}
