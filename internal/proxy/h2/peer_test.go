package h2

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http2"
	xhpack "golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

// peer talks to one of our codecs by crafted frames.
type peer struct {
	tb   rapid.TB
	pipe codectest.Pipe
	log  codectest.Log
	conn codec.Conn
	srv  *ServerConn
	cli  *ClientConn
	now  int64
	stat Stats

	w    bytes.Buffer // frames to be fed
	fr   *http2.Framer
	hbuf bytes.Buffer
	henc *xhpack.Encoder
	hdec *xhpack.Decoder
}

func newPeer(tb rapid.TB) *peer {
	p := &peer{tb: tb}
	p.fr = http2.NewFramer(&p.w, nil)
	p.fr.AllowIllegalWrites = true
	p.henc = xhpack.NewEncoder(&p.hbuf)
	p.hdec = xhpack.NewDecoder(4096, nil)
	return p
}

func (p *peer) options(o Options) Options {
	o.Now = func() int64 { return p.now }
	o.Stats = &p.stat
	return o
}

// ofServer is a client of our server. Preface and settings are exchanged.
func ofServer(tb rapid.TB, lim codec.Limits, o Options) *peer {
	p := newPeer(tb)
	p.srv = NewServer(&p.pipe, &p.log, lim, p.options(o))
	p.conn = p.srv
	p.w.WriteString(Preface)
	p.must(p.fr.WriteSettings())
	p.must(p.fr.WriteSettingsAck())
	p.feed()
	p.pipe.Take()
	return p
}

// ofClient is a server to our client.
func ofClient(tb rapid.TB, lim codec.Limits, o Options) *peer {
	p := newPeer(tb)
	p.cli = NewClient(&p.pipe, lim, p.options(o))
	p.conn = p.cli
	p.must(p.fr.WriteSettings())
	p.must(p.fr.WriteSettingsAck())
	p.feed()
	p.pipe.Take()
	return p
}

func (p *peer) must(err error) {
	p.tb.Helper()
	if err != nil {
		p.tb.Fatal(err)
	}
}

// block encodes header fields given as name, value, ...
func (p *peer) block(kv ...string) []byte {
	p.hbuf.Reset()
	for i := 0; i < len(kv); i += 2 {
		p.must(p.henc.WriteField(xhpack.HeaderField{Name: kv[i], Value: kv[i+1]}))
	}
	return bytes.Clone(p.hbuf.Bytes())
}

// get is the block of a plain request with further fields.
func (p *peer) get(kv ...string) []byte {
	return p.block(append([]string{":method", "GET", ":scheme", "http", ":authority", "svc", ":path", "/"}, kv...)...)
}

func (p *peer) post(kv ...string) []byte {
	return p.block(append([]string{":method", "POST", ":scheme", "http", ":authority", "svc", ":path", "/"}, kv...)...)
}

func (p *peer) headers(id uint32, end bool, block []byte) {
	p.tb.Helper()
	p.must(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true}))
}

func (p *peer) data(id uint32, end bool, b string) {
	p.tb.Helper()
	p.must(p.fr.WriteData(id, end, []byte(b)))
}

func (p *peer) raw(typ http2.FrameType, flags http2.Flags, id uint32, payload ...byte) {
	p.tb.Helper()
	p.must(p.fr.WriteRawFrame(typ, flags, id, payload))
}

// feed gives the codec what was written.
func (p *peer) feed() error {
	b := bytes.Clone(p.w.Bytes())
	p.w.Reset()
	n, err := p.conn.Feed(b)
	if err == nil && n != len(b) {
		p.tb.Helper()
		p.tb.Fatalf("used %d of %d bytes", n, len(b))
	}
	return err
}

// open sends a request on our client.
func (p *peer) open(end bool, kv ...string) *codectest.Recorder {
	p.tb.Helper()
	r := p.log.Receiver()
	s, err := p.cli.Open(r)
	p.must(err)
	r.Stream = s
	s.SendHeaders(list(append([]string{":method", "GET", ":scheme", "http", ":authority", "svc", ":path", "/"}, kv...)...), end)
	return r
}

// sent has a line for each frame the codec has sent since the last call.
func (p *peer) sent() string {
	p.tb.Helper()
	b := p.pipe.Take()
	b = bytes.TrimPrefix(b, []byte(Preface))
	fr := http2.NewFramer(nil, bytes.NewReader(b))
	fr.SetMaxReadFrameSize(1 << 20)
	var s strings.Builder
	var block []byte
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			if s.Len() == 0 && !errors.Is(err, errEOF) {
				p.tb.Fatalf("output: %v", err)
			}
			return s.String()
		}
		id := f.Header().StreamID
		end := ""
		if f.Header().Flags.Has(http2.FlagDataEndStream) {
			end = " end"
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			fmt.Fprintf(&s, "DATA %d %d%s\n", id, len(f.Data()), end)
		case *http2.HeadersFrame:
			block = append(block[:0], f.HeaderBlockFragment()...)
			fmt.Fprintf(&s, "HEADERS %d%s", id, end)
			if f.HeadersEnded() {
				p.fields(&s, block)
			}
		case *http2.ContinuationFrame:
			block = append(block, f.HeaderBlockFragment()...)
			s.WriteString(" +")
			if f.HeadersEnded() {
				p.fields(&s, block)
			}
		case *http2.RSTStreamFrame:
			fmt.Fprintf(&s, "RST_STREAM %d %v\n", id, f.ErrCode)
		case *http2.GoAwayFrame:
			fmt.Fprintf(&s, "GOAWAY %d %v %s\n", f.LastStreamID, f.ErrCode, f.DebugData())
		case *http2.PingFrame:
			fmt.Fprintf(&s, "PING %v%s\n", f.Data, strings.Replace(end, "end", "ack", 1))
		case *http2.SettingsFrame:
			fmt.Fprintf(&s, "SETTINGS%s", strings.Replace(end, "end", "ack", 1))
			_ = f.ForeachSetting(func(v http2.Setting) error { fmt.Fprintf(&s, " %v", v); return nil })
			s.WriteByte('\n')
		case *http2.WindowUpdateFrame:
			fmt.Fprintf(&s, "WINDOW_UPDATE %d %d\n", id, f.Increment)
		default:
			fmt.Fprintf(&s, "%v\n", f)
		}
	}
}

func (p *peer) fields(s *strings.Builder, block []byte) {
	p.tb.Helper()
	fields, err := p.hdec.DecodeFull(block)
	p.must(err)
	for _, f := range fields {
		fmt.Fprintf(s, " %s=%s", f.Name, f.Value)
	}
	s.WriteByte('\n')
}

// check compares what was sent and seen, and that no event broke the contract.
func (p *peer) check(sent, seen string) {
	p.tb.Helper()
	if got := p.sent(); got != sent {
		p.tb.Errorf("sent\n%swant\n%s", got, sent)
	}
	if got := p.log.String(); got != seen {
		p.tb.Errorf("saw\n%swant\n%s", got, seen)
	}
	if bad := p.log.Invalid(); bad != "" {
		p.tb.Error(bad)
	}
}
