package bridge

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

const dnsTimeout = 5 * time.Second

// ResolvConf reads the name servers of the host (resolv.conf(5)).
func ResolvConf(path string) ([]netip.AddrPort, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read name servers: %w", err)
	}
	defer f.Close()
	var servers []netip.AddrPort
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53))
		}
	}
	return servers, lines.Err()
}

func (h *Host) askDNS(ctx context.Context, m message) {
	reply, err := h.exchange(ctx, m.Data)
	h.answer(m.ID, message{Data: reply}, nil, err)
}

// exchange asks the host's name servers in turn, by UDP and, when the answer is
// cut short, by TCP.
func (h *Host) exchange(ctx context.Context, question []byte) ([]byte, error) {
	if !h.opts.Outside {
		return nil, errors.New("this mesh was started without access to outside addresses")
	}
	if len(question) < 12 {
		return nil, errors.New("ask name server: question too short")
	}
	err := errors.New("ask name server: the host has none")
	for _, server := range h.opts.DNSServers {
		var reply []byte
		if reply, err = overUDP(ctx, server, question); err != nil {
			continue
		}
		if len(reply) > 2 && reply[2]&0x02 != 0 { // TC bit, RFC 1035 section 4.1.1
			if full, tcpErr := overTCP(ctx, server, question); tcpErr == nil {
				reply = full
			}
		}
		return reply, nil
	}
	return nil, err
}

func overUDP(ctx context.Context, server netip.AddrPort, question []byte) ([]byte, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(dnsTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		// Answers to other questions are not ours.
		if n >= 12 && buf[0] == question[0] && buf[1] == question[1] {
			return buf[:n], nil
		}
	}
}

func overTCP(ctx context.Context, server netip.AddrPort, question []byte) ([]byte, error) {
	d := net.Dialer{Timeout: dnsTimeout}
	c, err := d.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(dnsTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	reply := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(c, reply)
	return reply, err
}
