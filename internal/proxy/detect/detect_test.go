package detect

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// hello is what crypto/tls sends.
func hello(tb testing.TB, cfg *tls.Config) []byte {
	tb.Helper()
	r := &recorder{}
	cfg.InsecureSkipVerify = true
	_ = tls.Client(r, cfg).HandshakeContext(context.Background())
	return r.Bytes()
}

type recorder struct{ bytes.Buffer }

func (r *recorder) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (r *recorder) Close() error                     { return nil }
func (r *recorder) LocalAddr() net.Addr              { return nil }
func (r *recorder) RemoteAddr() net.Addr             { return nil }
func (r *recorder) SetDeadline(time.Time) error      { return nil }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// split spreads one handshake record over records of at most n bytes.
func split(record []byte, n int) []byte {
	var out []byte
	for b := range slices.Chunk(record[recordHeader:], n) {
		out = append(out, recordHandshake, 3, 1)
		out = binary.BigEndian.AppendUint16(out, uint16(len(b)))
		out = append(out, b...)
	}
	return out
}

func TestTLS(t *testing.T) {
	t.Parallel()
	full := hello(t, &tls.Config{ServerName: "Reviews.Example.com", NextProtos: []string{"istio", "h2"}})
	plain := hello(t, &tls.Config{})
	want := ClientHello{SNI: "reviews.example.com", ALPN: []string{"istio", "h2"}}
	for name, b := range map[string][]byte{"one record": full, "records of 100": split(full, 100), "records of 30": split(full, 30)} {
		for i := range b {
			if _, v := TLS(b[:i]); v != More {
				t.Fatalf("%s: %v after %d of %d bytes", name, v, i, len(b))
			}
		}
		got, v := TLS(append(b, "more"...))
		if v != Yes || got.SNI != want.SNI || !slices.Equal(got.ALPN, want.ALPN) {
			t.Errorf("%s: %v %+v", name, v, got)
		}
	}
	if got, v := TLS(plain); v != Yes || got.SNI != "" || got.ALPN != nil {
		t.Errorf("without names: %v %+v", v, got)
	}
	huge := bytes.Clone(full[:9])
	huge[6] = 1 // a message of 64 KiB
	for name, b := range map[string][]byte{
		"HTTP": []byte("GET / HTTP/1.1\r\n"), "SSLv2": {0x80, 0x2e, 1}, "alert record": {21, 3, 1, 0, 2}, "version 4": {22, 4},
		"empty record": {22, 3, 1, 0, 0}, "record too long": {22, 3, 1, 0x40, 1}, "server hello": {22, 3, 1, 0, 9, 2}, "message too long": huge, "too many records": split(full, 1),
	} {
		if _, v := TLS(b); v != No {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want Version
		v    Verdict
	}{
		{"GET / HTTP/1.1\r\n", HTTP11, Yes},
		{"\r\nGET / HTTP/1.1\r\n", HTTP11, Yes},
		{"FOO-BAR http://h/p?q HTTP/1.0\n", HTTP10, Yes},
		{"CONNECT a:443 HTTP/1.1\r\nHost: a", HTTP11, Yes},
		{Preface, HTTP2, Yes},
		{Preface + "x", HTTP2, Yes},
		{"PRI * HTTP/2.0\r\n\r\nXX", 0, No},
		{"GET / HTTP/2.0\r\n", 0, No},
		{"GET / HTTP/1.2\r\n", 0, No},
		{"GET / HTTP/1.11\r\n", 0, No},
		{"GET  / HTTP/1.1\r\n", 0, No},
		{"GET /\r\n", 0, No},
		{"GET /\x00 HTTP/1.1\r\n", 0, No},
		{"SSH-2.0-OpenSSH_9\r\n", 0, No},
		{"*1\r\n$4\r\nPING\r\n", 0, No},
		{"\x16\x03\x01", 0, No},
		{strings.Repeat("A", maxMethod+1), 0, No},
		{"", 0, More},
		{"\r", 0, More},
		{"GET", 0, More},
		{"GET / HTT", 0, More},
		{"GET / HTTP/1.1\r", HTTP11, More},
		{"GET /" + strings.Repeat("a", MaxRequestLine), HTTP11, Yes},
	} {
		got, v := HTTP([]byte(c.in))
		if v != c.v || v == Yes && got != c.want {
			t.Errorf("HTTP(%.40q) = %v, %v; want %v, %v", c.in, got, v, c.want, c.v)
		}
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	v2 := func(command, family byte, body string) string {
		return proxyV2Sign + string([]byte{0x20 | command, family, byte(len(body) >> 8), byte(len(body))}) + body
	}
	v4 := "\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb"
	src, dst := netip.MustParseAddrPort("1.2.3.4:80"), netip.MustParseAddrPort("5.6.7.8:443")
	for _, c := range []struct {
		name, in string
		v        Verdict
		fails    bool
		want     ProxyHeader
	}{
		{"v1", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", Yes, false, ProxyHeader{Version: 1, Source: src, Dst: dst}},
		{"v1 IPv6", "PROXY TCP6 ::1 ::2 1 2\r\n", Yes, false, ProxyHeader{Version: 1, Source: netip.MustParseAddrPort("[::1]:1"), Dst: netip.MustParseAddrPort("[::2]:2")}},
		{"v1 unknown", "PROXY UNKNOWN whatever\r\n", Yes, false, ProxyHeader{Version: 1, Local: true}},
		{"v2", v2(1, 0x11, v4), Yes, false, ProxyHeader{Version: 2, Source: src, Dst: dst}},
		{"v2 TLV", v2(1, 0x11, v4+"\x02\x00\x01a"), Yes, false, ProxyHeader{Version: 2, Source: src, Dst: dst, TLVs: []byte("\x02\x00\x01a")}},
		{"v2 local", v2(0, 0x11, v4), Yes, false, ProxyHeader{Version: 2, Local: true}},
		{"v1 no family", "PROXY TCP5 1.2.3.4 5.6.7.8 80 443\r\n", No, true, ProxyHeader{}},
		{"v1 wrong family", "PROXY TCP4 ::1 ::2 1 2\r\n", No, true, ProxyHeader{}},
		{"v1 port", "PROXY TCP4 1.2.3.4 5.6.7.8 80 65536\r\n", No, true, ProxyHeader{}},
		{"v1 port zero-led", "PROXY TCP4 1.2.3.4 5.6.7.8 080 1\r\n", No, true, ProxyHeader{}},
		{"v1 endless", "PROXY " + strings.Repeat("x", 200), No, true, ProxyHeader{}},
		{"v2 short", v2(1, 0x21, v4), No, true, ProxyHeader{}},
		{"v2 UDP", v2(1, 0x12, v4), No, true, ProxyHeader{}},
		{"v2 command", v2(2, 0x11, v4), No, true, ProxyHeader{}},
		{"v2 long", v2(1, 0x11, strings.Repeat("x", MaxProxyV2+1)), No, true, ProxyHeader{}},
		{"HTTP", "GET / HTTP/1.1\r\n", No, false, ProxyHeader{}},
		{"P", "P", More, false, ProxyHeader{}},
	} {
		for i := range len(c.in) {
			if c.v == Yes {
				if _, _, v, err := Proxy([]byte(c.in[:i])); v != More || err != nil {
					t.Errorf("%s: after %d bytes %v %v", c.name, i, v, err)
				}
			}
		}
		in := []byte(c.in)
		if c.v == Yes {
			in = append(in, "rest"...)
		}
		h, n, v, err := Proxy(in)
		if v != c.v || (err != nil) != c.fails {
			t.Errorf("%s: %v, %v", c.name, v, err)
			continue
		}
		if v == Yes && (n != len(c.in) || h.Source != c.want.Source || h.Dst != c.want.Dst || h.Local != c.want.Local || h.Version != c.want.Version || string(h.TLVs) != string(c.want.TLVs)) {
			t.Errorf("%s: %d bytes, %+v", c.name, n, h)
		}
	}
}
