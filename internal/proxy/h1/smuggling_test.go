package h1

import (
	"strconv"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// refusal is a request that must be refused, whatever follows it.
type refusal struct {
	name   string
	in     string
	status int
	detail string
}

const (
	get     = "GET / HTTP/1.1\r\nHost: h\r\n"
	post    = "POST / HTTP/1.1\r\nHost: h\r\n"
	chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
)

// smuggled is a request which an attacker would like to be served.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

var refusals = []refusal{
	// RFC 9112 §6.1, §6.3: what frames the content.
	{"CL and TE", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "http1.both_cl_and_te"},
	{"TE and CL", post + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400, "http1.both_cl_and_te"},
	{"two CL that differ", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400, "http1.duplicate_content_length"},
	{"two CL that agree", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, "http1.duplicate_content_length"},
	{"CL list", post + "Content-Length: 3, 3\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL with plus", post + "Content-Length: +3\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL with minus", post + "Content-Length: -3\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL with underscore", post + "Content-Length: 1_0\r\n\r\n", 400, "http1.invalid_content_length"},
	{"CL in hex", post + "Content-Length: 0x3\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL with a space inside", post + "Content-Length: 1 3\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL of 64 bits", post + "Content-Length: 18446744073709551619\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL of 63 bits", post + "Content-Length: 9223372036854775808\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL with leading zero", post + "Content-Length: 03\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL empty", post + "Content-Length:\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL with fraction", post + "Content-Length: 3.0\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"CL with vertical tab", post + "Content-Length: \x0b3\r\n\r\nabc", 400, "http1.invalid_header_value"},
	{"CL with a digit that is not ASCII", post + "Content-Length: \xd9\xa3\r\n\r\nabc", 400, "http1.invalid_content_length"},
	{"TE chunked twice in a list", post + "Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "http1.duplicate_transfer_encoding"},
	{"TE with empty first member", post + "Transfer-Encoding: ,chunked\r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE with empty last member", post + "Transfer-Encoding: chunked,\r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n", 501, "http1.unsupported_transfer_encoding"},
	{"TE chunkedx", post + "Transfer-Encoding: chunked;q=1\r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE in quotes", post + "Transfer-Encoding: \"chunked\"\r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE empty", post + "Transfer-Encoding: \r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE folded", post + "Transfer-Encoding:\r\n chunked\r\n\r\n", 400, "http1.folded_header"},
	{"TE folded before CL", post + "Transfer-Encoding: x\r\n\tchunked\r\nContent-Length: 3\r\n\r\n", 400, "http1.folded_header"},
	{"TE with vertical tab", post + "Transfer-Encoding: \x0bchunked\r\n\r\n", 400, "http1.invalid_header_value"},
	{"TE with form feed", post + "Transfer-Encoding: chunked\x0c\r\n\r\n", 400, "http1.invalid_header_value"},
	{"TE identity", post + "Transfer-Encoding: identity\r\n\r\n", 501, "http1.unsupported_transfer_encoding"},
	{"TE gzip", post + "Transfer-Encoding: gzip\r\n\r\n", 501, "http1.unsupported_transfer_encoding"},
	{"TE gzip, chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE chunked, identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n", 400, "http1.unsupported_transfer_encoding"},
	{"TE name with space", post + "Transfer-Encoding : chunked\r\n\r\n", 400, "http1.space_before_colon"},
	{"TE name with control", post + "Transfer-\x01Encoding: chunked\r\n\r\n", 400, "http1.invalid_header_name"},
	{"TE hidden behind bare CR", post + "X: y\rTransfer-Encoding: chunked\r\n\r\n", 400, "http1.bare_cr"},
	{"TE hidden behind bare LF", post + "X: y\nTransfer-Encoding: chunked\r\n\r\n", 400, "http1.bare_lf"},
	{"CONNECT with content", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nContent-Length: 3\r\n\r\n", 400, "http1.content_with_connect"},
	{"CONNECT with chunks", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "http1.content_with_connect"},

	// RFC 9112 §7.1: chunks.
	{"chunk size of 64 bits", chunked + "10000000000000003\r\nabc\r\n", 400, "http1.chunk_size_overflow"},
	{"chunk size with many zeros", chunked + "0000000000000003\r\nabc\r\n", 400, "http1.chunk_size_overflow"},
	{"chunk size 0x3", chunked + "0x3\r\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size with underscore", chunked + "1_0\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size negative", chunked + "-3\r\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size with plus", chunked + "+3\r\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size empty", chunked + "\r\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size missing before extension", chunked + ";a=b\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size with space before", chunked + " 3\r\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size with space behind", chunked + "3 \r\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size with tab behind", chunked + "3\t;a\r\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size with bare LF", chunked + "3\nabc\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk size with CR only", chunked + "3\rabc\r\n", 400, "http1.invalid_chunk_line_end"},
	{"chunk size with letter", chunked + "g\r\n", 400, "http1.invalid_chunk_size"},
	{"chunk extension with bare LF", chunked + "3;a\nabc\r\n0\r\n\r\n", 400, "http1.invalid_chunk_extension"},
	{"chunk extension with bare CR", chunked + "3;a\rb\r\nabc\r\n0\r\n\r\n", 400, "http1.invalid_chunk_line_end"},
	{"chunk extension with NUL", chunked + "3;\x00\r\nabc\r\n", 400, "http1.invalid_chunk_extension"},
	{"chunk extension without end", chunked + "3;" + strings.Repeat("a", 2000), 400, "http1.chunk_extension_too_long"},
	{"chunk longer than its size", chunked + "3\r\nabcd\r\n0\r\n\r\n", 400, "http1.invalid_chunk_end"},
	{"chunk without CRLF", chunked + "3\r\nabc0\r\n\r\n", 400, "http1.invalid_chunk_end"},
	{"chunk ending in LF", chunked + "3\r\nabc\n0\r\n\r\n", 400, "http1.invalid_chunk_end"},
	{"chunk ending in CR", chunked + "3\r\nabc\rX0\r\n\r\n", 400, "http1.invalid_chunk_end"},
	{"last chunk ending in LF", chunked + "0\n\n", 400, "http1.invalid_chunk_size"},
	{"final CRLF missing", chunked + "0\r\n" + smuggled, 400, "http1.no_colon_in_header"},
	{"final LF alone", chunked + "0\r\n\n", 400, "http1.bare_lf"},
	{"trailer content-length", chunked + "0\r\nContent-Length: 5\r\n\r\n", 400, "http1.framing_in_trailers"},
	{"trailer transfer-encoding", chunked + "0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "http1.framing_in_trailers"},
	{"trailer host", chunked + "0\r\nHost: other\r\n\r\n", 400, "http1.framing_in_trailers"},
	{"trailer with bare LF", chunked + "0\r\nX: y\n\r\n", 400, "http1.bare_lf"},
	{"trailer with NUL", chunked + "0\r\nX: \x00\r\n\r\n", 400, "http1.nul_in_header"},
	{"trailer folded", chunked + "0\r\nX: y\r\n z\r\n\r\n", 400, "http1.folded_header"},

	// RFC 9112 §5, RFC 9110 §5.5: field lines.
	{"bare LF ends a line", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400, "http1.bare_lf"},
	{"bare LF ends the head", get + "\n", 400, "http1.bare_lf"},
	{"bare CR in a value", get + "X: a\rb\r\n\r\n", 400, "http1.bare_cr"},
	{"CR CR LF", get + "X: a\r\r\n\r\n", 400, "http1.bare_cr"},
	{"bare CR in a name", get + "X\rY: a\r\n\r\n", 400, "http1.bare_cr"},
	{"NUL in a value", get + "X: a\x00b\r\n\r\n", 400, "http1.nul_in_header"},
	{"NUL in a name", get + "X\x00: a\r\n\r\n", 400, "http1.nul_in_header"},
	{"DEL in a value", get + "X: a\x7f\r\n\r\n", 400, "http1.invalid_header_value"},
	{"escape in a value", get + "X: \x1b[0m\r\n\r\n", 400, "http1.invalid_header_value"},
	{"space before colon", get + "X : a\r\n\r\n", 400, "http1.space_before_colon"},
	{"tab before colon", get + "X\t: a\r\n\r\n", 400, "http1.space_before_colon"},
	{"space in a name", get + "X Y: a\r\n\r\n", 400, "http1.invalid_header_name"},
	{"name empty", get + ": a\r\n\r\n", 400, "http1.invalid_header_name"},
	{"name not ASCII", get + "X\xc3\xa9: a\r\n\r\n", 400, "http1.invalid_header_name"},
	{"name of a pseudo-header field", get + ":path: /x\r\n\r\n", 400, "http1.invalid_header_name"},
	{"no colon", get + "X\r\n\r\n", 400, "http1.no_colon_in_header"},
	{"space before the first header", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, "http1.space_before_first_header"},
	{"tab before the first header", "GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", 400, "http1.space_before_first_header"},
	{"folded header", get + "X: a\r\n b\r\n\r\n", 400, "http1.folded_header"},
	{"line of blanks", get + " \r\n\r\n", 400, "http1.folded_header"},

	// RFC 9112 §3.2: Host and target.
	{"Host missing", "GET / HTTP/1.1\r\n\r\n", 400, "http1.missing_host"},
	{"Host twice", get + "Host: other\r\n\r\n", 400, "http1.duplicate_host"},
	{"Host twice the same", get + "host: h\r\n\r\n", 400, "http1.duplicate_host"},
	{"Host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "http1.invalid_host"},
	{"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with comma", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with path", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with space", "GET / HTTP/1.1\r\nHost: h x\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with two ports", "GET / HTTP/1.1\r\nHost: h:1:2\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with port of letters", "GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with only a port", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with broken IPv6", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "http1.invalid_host"},
	{"Host with IPv6 and more", "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400, "http1.invalid_host"},
	{"Host missing beside absolute form", "GET http://h/ HTTP/1.1\r\n\r\n", 400, "http1.missing_host"},
	{"Host twice beside absolute form", "GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, "http1.duplicate_host"},
	{"absolute form with user", "GET http://u:p@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target_authority"},
	{"absolute form without host", "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target_authority"},
	{"absolute form of another scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target"},
	{"target without slash", "GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target"},
	{"asterisk for GET", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target"},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.fragment_in_target"},
	{"target with DEL", "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target"},
	{"target with tab", "GET /\tx HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target"},
	{"target with NUL", "GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.nul_in_request_line"},
	{"target with bare CR", "GET /\rx HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_target"},
	{"target with space", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_version"},
	{"CONNECT with path", "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_connect_target"},
	{"CONNECT without port", "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_connect_target"},

	// RFC 9112 §2.3, §3: request line.
	{"method with slash", "GE/T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_method"},
	{"method with NUL", "G\x00T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.nul_in_request_line"},
	{"method missing", " / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_method"},
	{"method too long", strings.Repeat("A", 65) + " / HTTP/1.1\r\nHost: h\r\n\r\n", 501, "http1.method_too_long"},
	{"two spaces before target", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_request_line"},
	{"two spaces before version", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_version"},
	{"space behind version", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400, "http1.invalid_version"},
	{"tab for space", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_method"},
	{"two empty lines first", "\r\n\r\n" + smuggled, 400, "http1.invalid_request_line"},
	{"bare LF first", "\n" + smuggled, 400, "http1.bare_lf"},
	{"bare LF behind the request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", 400, "http1.bare_lf"},
	{"HTTP/0.9", "GET /\r\n", 400, "http1.invalid_request_line"},
	{"HTTP/1.32", "GET / HTTP/1.32\r\nHost: h\r\n\r\n", 400, "http1.invalid_version"},
	{"HTTP/1.10", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400, "http1.invalid_version"},
	{"HTTP/01.1", "GET / HTTP/01.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_version"},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505, "http1.unsupported_version"},
	{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "http1.unsupported_version"},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http1.unsupported_version"},
	{"http/1.1 in lower case", "GET / http/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_version"},
	{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", 426, "http1.http10_not_accepted"},
	{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01", 400, "http1.invalid_method"},
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newServer(codec.Limits{}, Options{}).answering()
			o.give([]byte(c.in + smuggled))
			o.give([]byte(smuggled))
			if got := detail(o.err); got != c.detail {
				t.Errorf("error %q, want %q", got, c.detail)
			}
			if !o.conn.Done() {
				t.Error("the connection is not done")
			}
			if s := o.Log.String(); strings.Contains(s, "/smuggled") {
				t.Errorf("bytes behind the error were served:\n%s", s)
			}
			want := "HTTP/1.1 " + strconv.Itoa(c.status) + " "
			if out := string(o.Out); !strings.HasPrefix(out, want) || strings.Count(out, "HTTP/1.1 ") != 1 ||
				!strings.Contains(out, "close\r\n") || !strings.HasSuffix(out, "\r\n\r\n") {
				t.Errorf("answer %q, want one of %s with connection: close", out, want)
			}
			cuts(t, c.in+"\r\n\r\n", func() *owner { return newServer(codec.Limits{}, Options{}).answering() })
		})
	}
}

func TestTransferEncodingOnHTTP10(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{AcceptHTTP10: true})
	o.give([]byte("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	if detail(o.err) != "http1.te_on_http10" || o.conn.Streams() != 0 {
		t.Fatal(o.result())
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	lim := codec.Limits{MaxHeaderBytes: 256, MaxHeaders: 3}
	for _, c := range []refusal{
		{"request line too long", "GET /" + strings.Repeat("a", 300) + " HTTP/1.1\r\n", 414, "http1.request_line_too_long"},
		{"request line without end", "GET /" + strings.Repeat("a", 300), 414, "http1.request_line_too_long"},
		{"header too long", get + "X: " + strings.Repeat("a", 300) + "\r\n\r\n", 431, "http1.headers_too_large"},
		{"header without end", get + "X: " + strings.Repeat("a", 300), 431, "http1.headers_too_large"},
		{"name without end", get + strings.Repeat("a", 300), 431, "http1.headers_too_large"},
		{"too many headers", get + "A: 1\r\nB: 2\r\nC: 3\r\n\r\n", 431, "http1.too_many_headers"},
		{"trailers too long", chunked + "0\r\nX: " + strings.Repeat("a", 300) + "\r\n\r\n", 431, "http1.trailers_too_large"},
		{"too many trailers", chunked + "0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", 431, "http1.too_many_headers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := cuts(t, c.in, func() *owner { return newServer(lim, Options{}).answering() })
			if got := detail(o.err); got != c.detail {
				t.Errorf("error %q, want %q", got, c.detail)
			}
			if !strings.HasPrefix(string(o.Out), "HTTP/1.1 "+strconv.Itoa(c.status)) {
				t.Errorf("answer %q, want %d", o.Out, c.status)
			}
		})
	}
	exact := get + "X: " + strings.Repeat("a", 256-len(get)-len("X: \r\n\r\n")) + "\r\n\r\n"
	o := cuts(t, exact, func() *owner { return newServer(lim, Options{}).answering() })
	if o.err != nil || len(o.Receivers) != 1 {
		t.Errorf("a head of exactly the limit is refused:\n%s", o.result())
	}
}
