package detect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ProxyHeader is a PROXY protocol header (HAProxy's proxy-protocol.txt).
type ProxyHeader struct {
	Version     int            // 1 or 2
	Local       bool           // the proxy speaks for itself (health checks), or the addresses are unknown
	Source, Dst netip.AddrPort // of the client's connection; zero if Local
	TLVs        []byte         // version 2: type, length (two bytes), value, and so on; lent from the input
}

const (
	proxyV1Max = 107 // bytes with CRLF, by the specification
	// MaxProxyV2 bounds what follows the fixed part of a version 2 header.
	MaxProxyV2   = 4096
	proxyV2Sign  = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Fixed = 16
	proxyV1Sign  = "PROXY "
)

// Proxy looks for a PROXY header, version 1 or 2. With Yes, n is its length.
// err says what is wrong with one that began well; then the verdict is No.
func Proxy(b []byte) (h ProxyHeader, n int, v Verdict, err error) {
	switch {
	case hasPrefix(b, proxyV2Sign) != No:
		if len(b) < proxyV2Fixed {
			return h, 0, More, nil
		}
		return proxyV2(b)
	case hasPrefix(b, proxyV1Sign) != No:
		return proxyV1(b)
	default:
		return h, 0, No, nil
	}
}

func hasPrefix(b []byte, sign string) Verdict {
	n := min(len(b), len(sign))
	switch {
	case string(b[:n]) != sign[:n]:
		return No
	case n < len(sign):
		return More
	default:
		return Yes
	}
}

func proxyV1(b []byte) (h ProxyHeader, n int, v Verdict, err error) {
	end := bytes.Index(b[:min(len(b), proxyV1Max)], []byte("\r\n"))
	if end < 0 {
		if len(b) < proxyV1Max {
			return h, 0, More, nil
		}
		return h, 0, No, fmt.Errorf("PROXY header without an end in %d bytes", proxyV1Max)
	}
	h.Version, n = 1, end+2
	f := strings.Split(string(b[len(proxyV1Sign):max(end, len(proxyV1Sign))]), " ")
	switch {
	case f[0] == "UNKNOWN":
		h.Local = true
		return h, n, Yes, nil
	case len(f) != 5 || f[0] != "TCP4" && f[0] != "TCP6":
		return h, 0, No, fmt.Errorf("PROXY header %q is not TCP4 or TCP6 with four fields", f)
	}
	if h.Source, err = proxyAddr(f[0], f[1], f[3]); err != nil {
		return h, 0, No, fmt.Errorf("PROXY header source: %w", err)
	}
	if h.Dst, err = proxyAddr(f[0], f[2], f[4]); err != nil {
		return h, 0, No, fmt.Errorf("PROXY header destination: %w", err)
	}
	return h, n, Yes, nil
}

func proxyAddr(family, ip, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if a.Is4() != (family == "TCP4") || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("address %q is not of family %s", ip, family)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

func proxyV2(b []byte) (h ProxyHeader, n int, v Verdict, err error) {
	if b[12]>>4 != 2 {
		return h, 0, No, fmt.Errorf("PROXY header of version %d", b[12]>>4)
	}
	size := int(binary.BigEndian.Uint16(b[14:]))
	if size > MaxProxyV2 {
		return h, 0, No, fmt.Errorf("PROXY header of %d bytes, more than %d", size, MaxProxyV2)
	}
	n = proxyV2Fixed + size
	command, family := b[12]&15, b[13]
	if command > 1 {
		return h, 0, No, fmt.Errorf("PROXY header with command %d", command)
	}
	if len(b) < n {
		return h, 0, More, nil
	}
	h.Version = 2
	body := b[proxyV2Fixed:n]
	var addrs int
	switch family {
	case 0x11: // TCP over IPv4
		if addrs = 12; len(body) >= addrs {
			h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
			h.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:])), binary.BigEndian.Uint16(body[10:]))
		}
	case 0x21: // TCP over IPv6
		if addrs = 36; len(body) >= addrs {
			h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
			h.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:])).Unmap(), binary.BigEndian.Uint16(body[34:]))
		}
	case 0x31: // Unix stream
		addrs, h.Local = 216, true
	case 0x00:
		h.Local = true
	default:
		return h, 0, No, fmt.Errorf("PROXY header for family and protocol 0x%02x, not a TCP stream", family)
	}
	if command == 0 {
		// LOCAL: whatever addresses there are mean nothing.
		return ProxyHeader{Version: 2, Local: true}, n, Yes, nil
	}
	if len(body) < addrs {
		return h, 0, No, errors.New("PROXY header too short for its addresses")
	}
	h.TLVs = body[addrs:]
	return h, n, Yes, nil
}
