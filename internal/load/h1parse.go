package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
)

// responseParser reads HTTP/1.x answers (RFC 9112) without keeping more of them
// than it is asked for.
type responseParser struct {
	head        bool // the request was HEAD: no body follows
	groupHeader []byte
	groupBody   *regexp.Regexp
}

// response is what the load generator wants to know of an answer.
type response struct {
	code  int
	group string
	size  int64 // bytes read, all of them
	close bool  // the connection ends with this answer
}

// framing is how the end of an answer is found.
type framing struct {
	length  int64 // -1: not given
	chunked bool
	http10  bool
	close   bool
	alive   bool
}

// maxInterim bounds how many 1xx answers may come before the real one.
const maxInterim = 16

// read reads one whole answer, interim ones (1xx) before it included.
func (p *responseParser) read(br *bufio.Reader) (response, error) {
	var res response
	for range maxInterim {
		f, err := p.readHead(br, &res)
		if err != nil {
			return res, err
		}
		if res.code >= 100 && res.code < 200 && res.code != 101 {
			continue
		}
		return res, p.readBody(br, f, &res)
	}
	return res, protocolError("too many interim answers")
}

// readHead reads the status line and the headers.
func (p *responseParser) readHead(br *bufio.Reader, res *response) (framing, error) {
	f := framing{length: -1}
	start := res.size
	line, err := readLine(br, &res.size)
	if err != nil {
		return f, err
	}
	if res.code, f.http10, err = parseStatusLine(line); err != nil {
		return f, err
	}
	res.group = ""
	for {
		line, err := readLine(br, &res.size)
		switch {
		case err != nil:
			return f, err
		case len(line) == 0:
			return f, nil
		case res.size-start > maxHeaderBytes:
			return f, protocolError("headers too large")
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			return f, protocolError("header line without a name")
		}
		value = bytes.Trim(value, " \t")
		if err := f.note(name, value); err != nil {
			return f, err
		}
		if len(p.groupHeader) > 0 && res.group == "" && bytes.EqualFold(name, p.groupHeader) {
			res.group = string(value)
		}
	}
}

// note takes in the headers that decide where the answer ends.
func (f *framing) note(name, value []byte) error {
	switch {
	case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
		n, err := parseLength(value)
		if err != nil {
			return err
		}
		if f.length >= 0 && f.length != n {
			return protocolError("two different content lengths")
		}
		f.length = n
	case len(name) == len("transfer-encoding") && bytes.EqualFold(name, []byte("transfer-encoding")):
		if f.chunked || !bytes.EqualFold(value, []byte("chunked")) {
			return protocolError("unknown transfer encoding")
		}
		f.chunked = true
	case len(name) == len("connection") && bytes.EqualFold(name, []byte("connection")):
		for token := range strings.SplitSeq(string(value), ",") {
			token = strings.TrimSpace(token)
			f.close = f.close || strings.EqualFold(token, "close")
			f.alive = f.alive || strings.EqualFold(token, "keep-alive")
		}
	}
	return nil
}

// readBody reads to the end of the answer as RFC 9112, 6.3 finds it.
func (p *responseParser) readBody(br *bufio.Reader, f framing, res *response) error {
	res.close = f.close || (f.http10 && !f.alive)
	body := &bodyReader{br: br, size: &res.size}
	if p.groupBody != nil {
		body.keep = make([]byte, 0, 1024)
	}
	var err error
	switch {
	case res.code == 101:
		res.close = true // whatever follows is not HTTP
	case p.head, res.code == 204, res.code == 304:
	case f.chunked:
		if f.length >= 0 { // both: the stricter reading, and trust it no further
			res.close = true
		}
		err = body.chunks()
	case f.length >= 0:
		err = body.take(f.length)
	default:
		res.close = true
		err = body.toEnd()
	}
	if err != nil {
		return err
	}
	if p.groupBody != nil {
		res.group = groupOf(p.groupBody, body.keep)
	}
	return nil
}

// groupOf is the first group of re in body, or the whole match, or "".
func groupOf(re *regexp.Regexp, body []byte) string {
	m := re.FindSubmatch(body)
	switch {
	case m == nil:
		return ""
	case len(m) > 1:
		return string(m[1])
	}
	return string(m[0])
}

// readLine returns the next line without its end; it is valid until the next read.
func readLine(br *bufio.Reader, size *int64) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	*size += int64(len(line))
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, protocolError("line too long")
	case errors.Is(err, io.EOF):
		return nil, errClosed
	case err != nil:
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// parseStatusLine reads "HTTP/1.x NNN reason".
func parseStatusLine(line []byte) (code int, http10 bool, err error) {
	const bad = protocolError("no HTTP/1.x status line")
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return 0, false, bad
	}
	if line[7] != '0' && line[7] != '1' {
		return 0, false, bad
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, false, bad
		}
		code = code*10 + int(c-'0')
	}
	if code < 100 || (len(line) > 12 && line[12] != ' ') {
		return 0, false, bad
	}
	return code, line[7] == '0', nil
}

// parseLength reads a Content-Length: digits only, within the limit.
func parseLength(v []byte) (int64, error) {
	if len(v) == 0 || len(v) > 18 {
		return 0, protocolError("bad content length")
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, protocolError("bad content length")
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}
