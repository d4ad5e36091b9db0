package detect

import (
	"crypto/tls"
	"testing"
)

// A verdict other than More must not change with further bytes.
func FuzzVerdicts(f *testing.F) {
	h := hello(f, &tls.Config{ServerName: "a.b", NextProtos: []string{"h2"}})
	f.Add(h)
	f.Add(split(h, 40))
	f.Add([]byte("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Add([]byte(Preface))
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n"))
	f.Add([]byte(proxyV2Sign + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb"))
	sniffers := map[string]func([]byte) Verdict{
		"tls":   func(b []byte) Verdict { _, v := TLS(b); return v },
		"http":  func(b []byte) Verdict { _, v := HTTP(b); return v },
		"proxy": func(b []byte) Verdict { _, n, v, _ := Proxy(b); _ = b[:n]; return v },
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 4<<10)] // every prefix is looked at
		for name, sniff := range sniffers {
			first := More
			for i := 0; i <= len(b); i++ {
				v := sniff(b[:i])
				if first != More && v != first {
					t.Fatalf("%s: %v became %v after %d bytes", name, first, v, i)
				}
				first = v
			}
		}
	})
}

// Whatever comes, More ends.
func TestMoreEnds(t *testing.T) {
	t.Parallel()
	h := hello(t, &tls.Config{ServerName: "a.b"})
	pad := make([]byte, 100<<10)
	for i := range pad {
		pad[i] = 'a'
	}
	for name, begin := range map[string]string{"tls": string(h[:20]), "method": "G", "target": "GET /", "v1": "PROXY ", "v2": proxyV2Sign + "\x21\x11\x0f\x00"} {
		b := append([]byte(begin), pad...)
		_, tv := TLS(b)
		_, hv := HTTP(b)
		_, _, pv, _ := Proxy(b)
		if tv == More || hv == More || pv == More {
			t.Errorf("%s: TLS %v, HTTP %v, PROXY %v", name, tv, hv, pv)
		}
	}
}
