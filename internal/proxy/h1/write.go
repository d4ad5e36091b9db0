package h1

import (
	"strconv"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// connectionField names the fields that are never copied from a list to the wire:
// those of the connection, which the codec writes itself (RFC 9110 §7.6.1).
func connectionField(id header.ID) bool {
	switch id {
	case header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding,
		header.Upgrade, header.HTTP2Settings, header.Host:
		return true
	default:
		return false
	}
}

// appendField writes a field line, or nothing if the field would not be read as
// one field: a name that is no token, a value with CR, LF, NUL or another control.
func appendField(dst []byte, id header.ID, name, value []byte) []byte {
	if id == header.Other && !isToken(name) || !isText(value) {
		return dst
	}
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

func appendHex(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return dst
}

// appendStatusLine writes a status line with the usual reason phrase.
func appendStatusLine(dst []byte, status int) []byte {
	dst = strconv.AppendInt(append(dst, "HTTP/1.1 "...), int64(status), 10)
	dst = append(append(dst, ' '), reason(status)...)
	return append(dst, "\r\n"...)
}

// parseStatus reads :status; 0 when it is none.
func parseStatus(v []byte) int {
	if len(v) != 3 || v[0] < '1' || !allAre(v, digitChar) {
		return 0
	}
	return int(v[0]-'0')*100 + int(v[1]-'0')*10 + int(v[2]-'0')
}

// reason is the phrase of the IANA registry; clients ignore it (RFC 9112 §4).
func reason(status int) string {
	if status < 100 || status >= 600 {
		return ""
	}
	return reasons[status-100]
}

var reasons = [500]string{
	0: "Continue", 1: "Switching Protocols", 2: "Processing", 3: "Early Hints",
	100: "OK", 101: "Created", 102: "Accepted", 103: "Non-Authoritative Information", 104: "No Content",
	105: "Reset Content", 106: "Partial Content", 107: "Multi-Status", 108: "Already Reported", 126: "IM Used",
	200: "Multiple Choices", 201: "Moved Permanently", 202: "Found", 203: "See Other", 204: "Not Modified",
	205: "Use Proxy", 207: "Temporary Redirect", 208: "Permanent Redirect",
	300: "Bad Request", 301: "Unauthorized", 302: "Payment Required", 303: "Forbidden", 304: "Not Found",
	305: "Method Not Allowed", 306: "Not Acceptable", 307: "Proxy Authentication Required",
	308: "Request Timeout", 309: "Conflict", 310: "Gone", 311: "Length Required", 312: "Precondition Failed",
	313: "Payload Too Large", 314: "URI Too Long", 315: "Unsupported Media Type", 316: "Range Not Satisfiable",
	317: "Expectation Failed", 318: "I'm a teapot", 321: "Misdirected Request", 322: "Unprocessable Entity",
	323: "Locked", 324: "Failed Dependency", 325: "Too Early", 326: "Upgrade Required",
	328: "Precondition Required", 329: "Too Many Requests", 331: "Request Header Fields Too Large",
	351: "Unavailable For Legal Reasons",
	400: "Internal Server Error", 401: "Not Implemented", 402: "Bad Gateway", 403: "Service Unavailable",
	404: "Gateway Timeout", 405: "HTTP Version Not Supported", 406: "Variant Also Negotiates",
	407: "Insufficient Storage", 408: "Loop Detected", 410: "Not Extended", 411: "Network Authentication Required",
}
