package load

import (
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestWrongOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"no scheme":     {Options{URL: "localhost:8080"}, "begins with none of"},
		"no host":       {Options{URL: "http:///x"}, "names no host"},
		"user":          {Options{URL: "http://a:b@c/"}, "Authorization"},
		"tcp port":      {Options{URL: "tcp://c"}, "names no port"},
		"grpc method":   {Options{URL: "grpc://c/a.B/C"}, "only the health check"},
		"rate":          {Options{URL: "http://c", Rate: MaxRate + 1}, "rate"},
		"negative rate": {Options{URL: "http://c", Rate: -1}, "rate"},
		"NaN":           {Options{URL: "http://c", Rate: math.NaN()}, "rate"},
		"connections":   {Options{URL: "http://c", Connections: MaxConnections + 1}, "connections"},
		"duration":      {Options{URL: "http://c", Duration: MaxDuration + time.Second}, "duration"},
		"requests":      {Options{URL: "http://c", Requests: -1}, "requests"},
		"streams":       {Options{URL: "http://c", Streams: 2}, "need HTTP/2"},
		"too much":      {Options{URL: "http://c", HTTP2: true, Streams: MaxStreams, Connections: MaxConnections}, "at once"},
		"timeout":       {Options{URL: "http://c", Timeout: -1}, "timeout"},
		"body":          {Options{URL: "http://c", Body: make([]byte, MaxBody+1)}, "body"},
		"method":        {Options{URL: "http://c", Method: "GET /"}, "method"},
		"connect":       {Options{URL: "http://c", Method: "CONNECT"}, "method"},
		"host header":   {Options{URL: "http://c", Header: http.Header{"host": {"x"}}}, "Host"},
		"framing":       {Options{URL: "http://c", Header: http.Header{"content-length": {"3"}}}, "itself"},
		"injection":     {Options{URL: "http://c", Header: http.Header{"a": {"b\r\nc: d"}}}, "cannot be sent"},
		"host":          {Options{URL: "http://c", Host: "a b"}, "cannot be sent"},
		"two lines":     {Options{URL: "tcp://c:1", Body: []byte("a\nb")}, "one line"},
		"tcp header":    {Options{URL: "tcp://c:1", Header: http.Header{"a": {"b"}}}, "takes no"},
		"h2 fresh":      {Options{URL: "http://c", HTTP2: true, NoKeepAlive: true}, "kept alive"},
		"two groupings": {Options{URL: "http://c", GroupByHeader: "a", GroupByBody: regexp.MustCompile("a")}, "not by both"},
	} {
		_, err := Run(t.Context(), tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q in it", name, err, tc.want)
		}
	}
}

func TestParseAllowance(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Allowance{"0": {}, "12": {Count: 12}, "0.5%": {Share: 0.005}, "100%": {Share: 1}} {
		if got, err := ParseAllowance(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "x", "101%", "-1%", "NaN%", "1.5"} {
		if _, err := ParseAllowance(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}
