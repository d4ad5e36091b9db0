package detect

import "strings"

// MaxHello is how many bytes of records a ClientHello may take.
const MaxHello = 16 << 10

// ClientHello is what decides about a TLS connection before TLS begins.
type ClientHello struct {
	SNI  string   // lower case; empty if none was sent
	ALPN []string // in the client's order
}

const (
	recordHandshake  = 22
	recordHeader     = 5
	maxPlaintext     = 16 << 10
	helloType        = 1
	handshakeHeader  = 4
	extServerName    = 0
	extALPN          = 16
	maxALPNProtocols = 64
	// maxRecords bounds how finely a ClientHello may be chopped: each arrival is
	// looked at from the start.
	maxRecords = 64
)

// TLS looks for a ClientHello (RFC 8446 §4.1.2), also one that is spread over
// several records. One that is malformed or larger than MaxHello is No.
func TLS(b []byte) (ClientHello, Verdict) {
	msg, v := helloMessage(b)
	if v != Yes {
		return ClientHello{}, v
	}
	h, ok := parseHello(msg)
	if !ok {
		return ClientHello{}, No
	}
	return h, Yes
}

// helloMessage joins the records' content into the body of the ClientHello.
func helloMessage(b []byte) (msg []byte, v Verdict) {
	need := handshakeHeader
	for records := 1; len(msg) < need; records++ {
		if records > maxRecords {
			return nil, No
		}
		fragment, rest, v := nextRecord(b)
		if v == No {
			return nil, No
		}
		// What there is of an incomplete record can already be wrong.
		switch records {
		case 1:
			msg = fragment // in place: nearly always it is the only one
		case 2:
			msg = append(append(make([]byte, 0, MaxHello), msg...), fragment...)
		default:
			msg = append(msg, fragment...)
		}
		if len(msg) > 0 && msg[0] != helloType {
			return nil, No
		}
		if len(msg) >= handshakeHeader {
			need = handshakeHeader + (int(msg[1])<<16 | int(msg[2])<<8 | int(msg[3]))
			if need > MaxHello {
				return nil, No
			}
		}
		if len(msg) >= need {
			break
		}
		if v == More {
			return nil, More
		}
		b = rest
	}
	return msg[handshakeHeader:need], Yes
}

// nextRecord returns the content of the first record, as far as it has come
// (More), and what follows it.
func nextRecord(b []byte) (fragment, rest []byte, v Verdict) {
	// Type 22 and a version 3.x: nothing that is not TLS begins so by chance.
	if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
		return nil, nil, No
	}
	if len(b) < recordHeader {
		return nil, nil, More
	}
	n := int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxPlaintext {
		return nil, nil, No
	}
	if len(b) < recordHeader+n {
		return b[recordHeader:], nil, More
	}
	return b[recordHeader : recordHeader+n], b[recordHeader+n:], Yes
}

func parseHello(msg []byte) (h ClientHello, ok bool) {
	r := reader(msg)
	if !r.skip(2 + 32) { // version, random
		return h, false
	}
	_, ok1 := r.vector(1) // session
	suites, ok2 := r.vector(2)
	compression, ok3 := r.vector(1)
	if !ok1 || !ok2 || !ok3 || len(suites) == 0 || len(suites)%2 != 0 || len(compression) == 0 {
		return h, false
	}
	if len(r) == 0 {
		return h, true // no extensions
	}
	exts, ok := r.vector(2)
	if !ok || len(r) != 0 {
		return h, false
	}
	for len(exts) > 0 {
		kind, ok1 := exts.number(2)
		body, ok2 := exts.vector(2)
		if !ok1 || !ok2 ||
			kind == extServerName && !h.readServerName(body) ||
			kind == extALPN && !h.readALPN(body) {
			return h, false
		}
	}
	return h, true
}

// readServerName reads RFC 6066 §3.
func (h *ClientHello) readServerName(body reader) bool {
	list, ok := body.vector(2)
	if !ok || len(body) != 0 || len(list) == 0 {
		return false
	}
	for len(list) > 0 {
		kind, ok1 := list.number(1)
		name, ok2 := list.vector(2)
		if !ok1 || !ok2 {
			return false
		}
		if kind != 0 {
			continue
		}
		if h.SNI != "" || !validName(name) {
			return false
		}
		h.SNI = strings.ToLower(string(name))
	}
	return true
}

// validName refuses what no host is called and what would spoil a log line.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > 255 {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// readALPN reads RFC 7301 §3.1.
func (h *ClientHello) readALPN(body reader) bool {
	list, ok := body.vector(2)
	if h.ALPN != nil || !ok || len(body) != 0 || len(list) == 0 {
		return false
	}
	for len(list) > 0 {
		p, ok := list.vector(1)
		if !ok || len(p) == 0 || len(h.ALPN) == maxALPNProtocols {
			return false
		}
		h.ALPN = append(h.ALPN, string(p))
	}
	return true
}
