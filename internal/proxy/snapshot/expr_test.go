package snapshot

import (
	"strings"
	"testing"
)

type attrs map[string]any

func (a attrs) Attribute(path []string) (any, bool) {
	v, ok := a[strings.Join(path, "/")]
	return v, ok
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	src := attrs{
		"request/protocol": "HTTP/2", "request/headers/content-type": "application/grpc+proto", "response/code": int64(503),
		"connection/mtls": true, "request/headers": map[string]any{"a": "b"}, "request/duration": 1.5,
		"metadata/filter_metadata/istio/list": []any{"x", "y"},
	}
	for text, want := range map[string]string{
		`request.protocol == 'HTTP/2' ? 'istio-h2,istio,h2' : 'istio-http/1.1'`:                                                 "istio-h2,istio,h2",
		`'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc') ? 'grpc' : 'http'`: "grpc",
		`'nope' in request.headers ? 1 : 2`:                  "2",
		`response.code >= 400 && response.code < 600`:        "true",
		`connection.mtls ? "mutual_tls" : "none"`:            "mutual_tls",
		`request.nope == 'x' || connection.mtls`:             "true",
		`request.nope == 'x' && connection.mtls`:             "",
		`has(request.nope)`:                                  "false",
		`!has(request.headers.nope)`:                         "true",
		`size('héé') + 1`:                                    "4",
		`string(response.code) + "!"`:                        "503!",
		`request.duration > 1`:                               "true",
		`response.code in [500, 503]`:                        "true",
		`'y' in metadata.filter_metadata['istio']['list']`:   "true",
		`request.headers['content-type'].matches('grpc\\+')`: "true",
		`-response.code`:                                     "-503",
		`(1 + 2) == 3 ? 'it\'s' : ''`:                        "it's",
		`request.headers.a`:                                  "",
		`null`:                                               "",
	} {
		e, err := ParseExpr(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, _ := e.Append(nil, src); string(got) != want {
			t.Errorf("%s = %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{``, `1 +`, `foo.bar`, `request.x.exists(a, a)`, `'a`, `a b`, `request[`, `'\q'`, strings.Repeat("(", 100), strings.Repeat("!", 100) + "true", `request.a.matches(request.b)`} {
		if _, err := ParseExpr(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func FuzzParseExpr(f *testing.F) {
	f.Add(`request.headers['a'] == "b" ? 1 : -2.5 + size([1,'x'])`)
	f.Add(`!has(a.b) && 'x' in y || true`)
	f.Fuzz(func(_ *testing.T, text string) {
		if e, err := ParseExpr(text); err == nil {
			e.Eval(attrs{"request": map[string]any{"a": []any{1.0}}})
		}
	})
}
