package tlsconn

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn/record"
)

// trafficKeys catches the traffic secrets of one handshake. crypto/tls tells them to
// Config.KeyLogWriter alone, so each handshake has a Config of its own. They stay in
// this memory, where crypto/tls would keep them too, and nothing is written.
type trafficKeys struct {
	client, server []byte
}

// wanted is cfg, telling k the secrets, or cfg itself if they would be of no use.
func (k *trafficKeys) wanted(cfg *tls.Config) *tls.Config {
	if cfg.MaxVersion < tls.VersionTLS13 || !record.Allowed() {
		return cfg
	}
	c := cfg.Clone()
	c.KeyLogWriter = k
	return c
}

// Write implements io.Writer for Config.KeyLogWriter: one line of NSS's key log
// format, "label client-random secret".
func (k *trafficKeys) Write(line []byte) (int, error) {
	f := bytes.Fields(line)
	if len(f) != 3 {
		return len(line), nil
	}
	var to *[]byte
	switch string(f[0]) {
	case "CLIENT_TRAFFIC_SECRET_0":
		to = &k.client
	case "SERVER_TRAFFIC_SECRET_0":
		to = &k.server
	default:
		return len(line), nil
	}
	// What does not decode is no secret of any suite: crypto/tls goes on then.
	if secret, err := hex.DecodeString(string(f[2])); err == nil {
		*to = secret
	}
	return len(line), nil
}

// layer makes the record layer of a session that is up, or nil if crypto/tls has to
// go on: older versions, other ciphers, secrets that were not told.
func (k *trafficKeys) layer(cs tls.ConnectionState, server bool) *record.Layer {
	if cs.Version != tls.VersionTLS13 {
		return nil
	}
	read, write := k.server, k.client
	if server {
		read, write = write, read
	}
	l, ok := record.New(!server, cs.CipherSuite, read, write)
	if !ok {
		return nil
	}
	clear(read)
	clear(write)
	return l
}

// recordBounds finds the ends of records in a stream.
type recordBounds struct {
	head  [5]byte
	known int // bytes of the present header that have come
	left  int // bytes of the present body that have not
}

// cut is how many bytes of b may be read at once: at most limit, and none of the
// record after the present one.
func (r *recordBounds) cut(b []byte, limit int) int {
	b = b[:min(len(b), limit)]
	n := copy(r.head[r.known:], b)
	r.known += n
	if r.known < len(r.head) {
		return n
	}
	if n > 0 {
		r.left = int(r.head[3])<<8 | int(r.head[4])
	}
	body := min(r.left, len(b)-n)
	r.left -= body
	if r.left == 0 {
		r.known = 0
	}
	return n + body
}
