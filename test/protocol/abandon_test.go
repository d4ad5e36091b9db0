package protocol

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestAnswerAfterAbandonedRequest: clients that reset a stream or leave in the
// middle of it do not cost the next client its answer.
func TestAnswerAfterAbandonedRequest(t *testing.T) {
	t.Parallel()
	w := webServer(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, "hello")
	}))
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "a"}} {
		_ = e.WriteField(f)
	}
	open := func() (net.Conn, *http2.Framer) {
		c := dial(t, w.plain)
		_, _ = io.WriteString(c, http2.ClientPreface)
		return c, http2.NewFramer(c, c)
	}
	request := func(f *http2.Framer, end bool) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true})
	}
	until := func(f *http2.Framer, what func(http2.Frame) bool) error {
		for {
			fr, err := f.ReadFrame()
			if err != nil || what(fr) {
				return err
			}
		}
	}
	leave := map[string]func(f *http2.Framer){
		"reset at once": func(f *http2.Framer) {
			_ = f.WriteSettings()
			request(f, true)
			_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = f.WritePing(false, [8]byte{})
			_ = until(f, func(fr http2.Frame) bool { p, ok := fr.(*http2.PingFrame); return ok && p.IsAck() })
		},
		"leave with a byte read": func(f *http2.Framer) {
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
			request(f, true)
			_ = until(f, func(fr http2.Frame) bool { _, ok := fr.(*http2.DataFrame); return ok })
		},
		"leave in the body": func(f *http2.Framer) {
			_ = f.WriteSettings()
			request(f, false)
			_ = f.WriteData(1, false, []byte("x"))
			_ = f.WritePing(false, [8]byte{})
			_ = until(f, func(fr http2.Frame) bool { p, ok := fr.(*http2.PingFrame); return ok && p.IsAck() })
		},
		"leave at once": func(f *http2.Framer) {
			_ = f.WriteSettings()
			request(f, true)
		},
	}
	for name, abandon := range leave {
		t.Run(name, func(t *testing.T) {
			for i := range 100 {
				c, f := open()
				abandon(f)
				_ = c.Close()
				c, f = open()
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				_ = f.WriteSettings()
				request(f, true)
				if err := until(f, func(fr http2.Frame) bool {
					d, ok := fr.(*http2.DataFrame)
					return ok && d.StreamEnded()
				}); err != nil {
					t.Fatalf("request %d after one that was abandoned: %v", i, err)
				}
				_ = c.Close()
			}
		})
	}
}
