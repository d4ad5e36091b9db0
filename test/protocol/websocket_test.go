package protocol

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestWebSocket(t *testing.T) {
	t.Parallel()
	w := webServer(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(8 << 20)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if string(b) == "leave" {
				_ = c.Close(4321, "as you wish")
				return
			}
			if err := c.Write(r.Context(), kind, b); err != nil {
				return
			}
		}
	}))
	for way, addr := range w.all {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			hc := client(t)
			hc.Timeout = 0
			c, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws", &websocket.DialOptions{Subprotocols: []string{"echo"}, HTTPClient: hc})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.CloseNow() }()
			if c.Subprotocol() != "echo" {
				t.Errorf("subprotocol %q", c.Subprotocol())
			}
			c.SetReadLimit(8 << 20)
			for _, m := range []struct {
				kind websocket.MessageType
				body []byte
			}{
				{websocket.MessageText, []byte("hello")},
				{websocket.MessageBinary, []byte{0, 1, 2, 0xff}},
				{websocket.MessageText, nil},
				{websocket.MessageBinary, bytes.Repeat([]byte{7}, 5<<20)},
			} {
				if err := c.Write(ctx, m.kind, m.body); err != nil {
					t.Fatal(err)
				}
				kind, got, err := c.Read(ctx)
				if err != nil || kind != m.kind || !bytes.Equal(got, m.body) {
					t.Fatalf("echo of %d bytes: %v, %d bytes, %v", len(m.body), kind, len(got), err)
				}
			}
			end := make(chan error, 1)
			go func() {
				_, _, err := c.Read(ctx) // takes the pong, then the close
				end <- err
			}()
			if err := c.Ping(ctx); err != nil {
				t.Fatalf("ping: %v", err)
			}
			if err := c.Write(ctx, websocket.MessageText, []byte("leave")); err != nil {
				t.Fatal(err)
			}
			if err := <-end; websocket.CloseStatus(err) != 4321 {
				t.Errorf("closed with %v, want status 4321", err)
			}
		})
	}
}
