package format_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/format"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

func op(o snapshot.Operator, args ...string) snapshot.FormatPart {
	p := snapshot.FormatPart{Op: o}
	if len(args) > 0 {
		p.Text = args[0]
	}
	if len(args) > 1 {
		p.Alt = args[1]
	}
	return p
}

func lit(s string) snapshot.FormatPart { return snapshot.FormatPart{Text: s} }

// istio is the default text format of Istio's access log.
func istio() *snapshot.Format {
	return &snapshot.Format{Parts: []snapshot.FormatPart{
		lit("["), op(snapshot.OpStartTime), lit(`] "`), op(snapshot.OpReq, ":method"), lit(" "),
		op(snapshot.OpReq, "x-envoy-original-path", ":path"), lit(" "), op(snapshot.OpProtocol), lit(`" `),
		op(snapshot.OpResponseCode), lit(" "), op(snapshot.OpResponseFlags), lit(" "), op(snapshot.OpResponseCodeDetails), lit(" "),
		op(snapshot.OpConnectionTerminationDetails), lit(` "`), op(snapshot.OpUpstreamTransportFailureReason), lit(`" `),
		op(snapshot.OpBytesReceived), lit(" "), op(snapshot.OpBytesSent), lit(" "), op(snapshot.OpDuration), lit(" "),
		op(snapshot.OpResp, "x-envoy-upstream-service-time"), lit(` "`), op(snapshot.OpReq, "x-forwarded-for"), lit(`" "`),
		op(snapshot.OpReq, "user-agent"), lit(`" "`), op(snapshot.OpReq, "x-request-id"), lit(`" "`), op(snapshot.OpReq, ":authority"),
		lit(`" "`), op(snapshot.OpUpstreamHost), lit(`" `), op(snapshot.OpUpstreamClusterRaw), lit(" "),
		op(snapshot.OpUpstreamLocalAddress), lit(" "), op(snapshot.OpDownstreamLocalAddress), lit(" "),
		op(snapshot.OpDownstreamRemoteAddress), lit(" "), op(snapshot.OpRequestedServerName), lit(" "), op(snapshot.OpRouteName), lit("\n"),
	}}
}

func record() *flow.Record {
	r := &flow.Record{
		Conn: &flow.Conn{
			ID: 7, Local: netip.MustParseAddrPort("10.0.0.2:9080"), Remote: netip.MustParseAddrPort("10.0.0.1:41000"),
			Direct: netip.MustParseAddrPort("10.0.0.9:1"), ServerName: "outbound_.9080_._.reviews.default.svc.cluster.local",
			TLS:   &tlsconn.Info{Version: "TLSv1.3", PeerURISANs: []string{"spiffe://cluster.local/ns/default/sa/web"}, SHA256: "ab"},
			Facts: snapshot.Facts{Peer: &snapshot.Peer{Presented: true, Verified: true, URISANs: []string{"spiffe://cluster.local/ns/default/sa/web"}}},
		},
		Protocol: codec.HTTP11, GRPCStatus: -1, Start: time.Date(2026, 11, 21, 4, 5, 6, 789e6, time.UTC),
		Status: 200, Details: "via_upstream", BytesReceived: 0, BytesSent: 375, End: 14*time.Millisecond + 600*time.Microsecond,
		UpstreamFirstRx: 13 * time.Millisecond, RequestEnd: 2 * time.Millisecond,
		Upstream: netip.MustParseAddrPort("127.0.0.1:9080"), UpstreamLocal: netip.MustParseAddrPort("127.0.0.6:50000"),
		Cluster: &snapshot.Cluster{Name: "inbound|9080||", StatName: "inbound|9080||;"}, Route: &snapshot.Route{Name: "default"},
	}
	r.Req.AddString(":method", "GET")
	r.Req.AddString(":path", "/reviews/1?a=1&b=2")
	r.Req.AddString(":authority", "reviews:9080")
	r.Req.AddString("user-agent", "curl/8")
	r.Req.AddString("x-request-id", "abc")
	r.Resp.AddString("x-envoy-upstream-service-time", "13")
	return r
}

func TestIstioDefaultLine(t *testing.T) {
	t.Parallel()
	got := string(format.Append(nil, istio(), record()))
	want := `[2026-11-21T04:05:06.789Z] "GET /reviews/1?a=1&b=2 HTTP/1.1" 200 - via_upstream - "-" 0 375 14 13 "-" "curl/8" "abc" ` +
		`"reviews:9080" "127.0.0.1:9080" inbound|9080|| 127.0.0.6:50000 10.0.0.2:9080 10.0.0.1:41000 ` +
		"outbound_.9080_._.reviews.default.svc.cluster.local default\n"
	if got != want {
		t.Errorf("line\n got %s\nwant %s", got, want)
	}
}

func TestIstioDefaultLineOfTCP(t *testing.T) {
	t.Parallel()
	r := record()
	r.Protocol, r.Status, r.Details, r.Route = 0, 0, "", nil
	r.Req.Reset()
	r.Resp.Reset()
	got := string(format.Append(nil, istio(), r))
	want := `[2026-11-21T04:05:06.789Z] "- - -" 0 - - - "-" 0 375 14 - "-" "-" "-" "-" "127.0.0.1:9080" inbound|9080|| ` +
		"127.0.0.6:50000 10.0.0.2:9080 10.0.0.1:41000 outbound_.9080_._.reviews.default.svc.cluster.local -\n"
	if got != want {
		t.Errorf("line\n got %s\nwant %s", got, want)
	}
}

func TestOperators(t *testing.T) {
	t.Parallel()
	expr := func(s string) snapshot.FormatPart {
		e, err := snapshot.ParseExpr(s)
		if err != nil {
			t.Fatal(err)
		}
		return snapshot.FormatPart{Op: snapshot.OpCEL, Expr: e}
	}
	for _, c := range []struct {
		part snapshot.FormatPart
		want string
	}{
		{op(snapshot.OpUpstreamCluster), "inbound|9080||"},
		{op(snapshot.OpStartTime, "%Y/%m/%dT%H:%M:%S %s %3f %6f %E3S %q"), "2026/11/21T04:05:06 1795233906 789 789000 06.789 %q"},
		{op(snapshot.OpCommonDuration, "DS_RX_BEG:US_RX_BEG:us"), "13000"},
		{op(snapshot.OpCommonDuration, "DS_RX_BEG:US_TX_END"), "-"},
		{op(snapshot.OpRequestDuration), "2"},
		{op(snapshot.OpResponseTxDuration), "1"},
		{op(snapshot.OpReqWithoutQuery, ":path"), "/reviews/1"},
		{op(snapshot.OpPath, "NQ", "PATH"), "/reviews/1"},
		{op(snapshot.OpQueryParam, "b"), "2"},
		{op(snapshot.OpQueryParam, "c"), "-"},
		{op(snapshot.OpDownstreamTLSVersion), "TLSv1.3"},
		{op(snapshot.OpDownstreamPeerURISAN), "spiffe://cluster.local/ns/default/sa/web"},
		{op(snapshot.OpUpstreamTLSVersion), "-"},
		{op(snapshot.OpDownstreamDirectRemoteAddressWithoutPort), "10.0.0.9"},
		{op(snapshot.OpDownstreamRemotePort), "41000"},
		{op(snapshot.OpConnectionID), "7"},
		{op(snapshot.OpGRPCStatus), "-"},
		{op(snapshot.OpAccessLogType), "DownstreamEnd"},
		{snapshot.FormatPart{Op: snapshot.OpReq, Text: ":path", Max: 4}, "/rev"},
		{expr(`request.host + request.url_path`), "reviews:9080/reviews/1"},
		{expr(`request.headers['user-agent'].startsWith('curl') ? 'c' : 'd'`), "c"},
		{expr(`response.code >= 200 && connection.mtls`), "true"},
		{expr(`request.headers['absent']`), "-"},
	} {
		f := &snapshot.Format{Parts: []snapshot.FormatPart{c.part}}
		if got := string(format.Append(nil, f, record())); got != c.want {
			t.Errorf("operator %d %q: got %q, want %q", c.part.Op, c.part.Text, got, c.want)
		}
	}
}

// Every operator must cope with a record of which nothing is known.
func TestEmptyRecord(t *testing.T) {
	t.Parallel()
	for o := snapshot.OpReq; o <= snapshot.OpCEL; o++ {
		f := &snapshot.Format{Parts: []snapshot.FormatPart{{Op: o}}}
		if got := format.Append(nil, f, &flow.Record{GRPCStatus: -1}); len(got) == 0 {
			t.Errorf("operator %d gave nothing", o)
		}
	}
}

func TestGRPCStatus(t *testing.T) {
	t.Parallel()
	r := record()
	r.GRPC, r.GRPCStatus = true, 7
	f := &snapshot.Format{Parts: []snapshot.FormatPart{
		op(snapshot.OpGRPCStatus), lit(" "), op(snapshot.OpGRPCStatus, "SNAKE_STRING"), lit(" "), op(snapshot.OpGRPCStatusNumber),
	}}
	if got, want := string(format.Append(nil, f, r)), "PermissionDenied PERMISSION_DENIED 7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONKeepsTypes(t *testing.T) {
	t.Parallel()
	field := func(key string, parts ...snapshot.FormatPart) snapshot.JSONField {
		return snapshot.JSONField{Key: key, Value: &snapshot.Format{Parts: parts}}
	}
	f := &snapshot.JSONFormat{Fields: []snapshot.JSONField{
		field("code", op(snapshot.OpResponseCode)), field("path", op(snapshot.OpReq, ":path")), field("xff", op(snapshot.OpReq, "x-forwarded-for")),
		field("mixed", op(snapshot.OpReq, ":method"), lit(" "), op(snapshot.OpReq, "none")),
		{Key: "const", Const: "1.5"},
		{Key: "sub", Object: &snapshot.JSONFormat{Fields: []snapshot.JSONField{field("bytes", op(snapshot.OpBytesSent))}}},
		{Key: "list", List: []snapshot.JSONField{field("", op(snapshot.OpProtocol)), {Const: "true"}}},
	}}
	want := `{"code":200,"path":"/reviews/1?a=1&b=2","xff":null,"mixed":"GET -","const":1.5,"sub":{"bytes":375},"list":["HTTP/1.1",true]}`
	if got := string(format.AppendJSON(nil, f, record())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	f.OmitEmpty = true
	if got := string(format.AppendJSON(nil, f, record())); strings.Contains(got, "xff") || !json.Valid([]byte(got)) {
		t.Errorf("with omitted fields: %s", got)
	}
}

// No value, whatever a peer sends, ends a line or breaks an object.
func TestValuesStayInTheirPlace(t *testing.T) {
	t.Parallel()
	text := istio()
	obj := &snapshot.JSONFormat{Fields: []snapshot.JSONField{
		{Key: "agent", Value: &snapshot.Format{Parts: []snapshot.FormatPart{op(snapshot.OpReq, "user-agent")}}},
		{Key: "both", Value: &snapshot.Format{Parts: []snapshot.FormatPart{lit("x"), op(snapshot.OpReq, "user-agent"), op(snapshot.OpResponseCodeDetails)}}},
		{Key: "details", Value: &snapshot.Format{Parts: []snapshot.FormatPart{{Op: snapshot.OpResponseCodeDetails, Max: 5}}}},
	}}
	rapid.Check(t, func(t *rapid.T) {
		r := record()
		hostile := rapid.SliceOf(rapid.Byte())
		r.Req.SetName("user-agent", hostile.Draw(t, "agent"))
		r.Req.SetName("x-request-id", hostile.Draw(t, "id"))
		r.Details = string(hostile.Draw(t, "details"))
		r.ConnEnd, r.UpstreamFailure, r.ClusterName = r.Details, r.Details, r.Details
		r.Cluster, r.Conn.ServerName = nil, r.Details
		line := format.Append(nil, text, r)
		for i, c := range line[:len(line)-1] {
			if c < 0x20 || c == 0x7f {
				t.Fatalf("control character %#x at byte %d of %q", c, i, line)
			}
		}
		if o := format.AppendJSON(nil, obj, r); !json.Valid(o) || strings.ContainsAny(string(o), "\n\r") {
			t.Fatalf("not an object on one line: %q", o)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	f, r := istio(), record()
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = format.Append(buf[:0], f, r) }); n != 0 {
		t.Errorf("%v allocations per line", n)
	}
}

func BenchmarkIstioLine(b *testing.B) {
	f, r := istio(), record()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = format.Append(buf[:0], f, r)
	}
}
