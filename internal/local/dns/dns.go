// Package dns is the name server of a node: it answers the names of services
// and their pods, as a cluster's does, and passes other questions to the
// host's name servers.
//
// Pods with a sidecar ask the sidecar first, which knows the mesh's names too;
// this server is for pods without one and for everything the sidecar passes on.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// ttl is short: pods come and go.
const ttl = 5

// maxInFlight bounds the questions that are being passed on.
const maxInFlight = 256

// Table is what the server knows. Names are fully qualified, lower case, with
// the final dot.
type Table struct {
	Addresses map[string][]netip.Addr
	Aliases   map[string]string // CNAME
	Services  map[string][]SRV  // _port._protocol.service…
}

// SRV is one target of a service record.
type SRV struct {
	Target string
	Port   uint16
}

// Server answers questions. Set its Table at any time.
type Server struct {
	zone     string // "cluster.local."
	table    atomic.Pointer[Table]
	forward  func(ctx context.Context, question []byte) ([]byte, error)
	log      *slog.Logger
	inFlight chan struct{}
}

// New makes a server for a domain such as "cluster.local". forward answers all
// other questions; nil refuses them.
func New(domain string, forward func(context.Context, []byte) ([]byte, error), log *slog.Logger) *Server {
	s := &Server{zone: dns.Fqdn(strings.ToLower(domain)), forward: forward, log: log, inFlight: make(chan struct{}, maxInFlight)}
	s.table.Store(&Table{})
	return s
}

// Set replaces what the server knows.
func (s *Server) Set(t *Table) { s.table.Store(t) }

// Serve answers by UDP and TCP until ctx ends. Both sockets are closed then.
func (s *Server) Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.handle(ctx, w, q) })
	servers := []*dns.Server{
		{PacketConn: udp, Handler: handler, UDPSize: dns.DefaultMsgSize},
		{Listener: tcp, Handler: handler, ReadTimeout: 10 * time.Second},
	}
	failed := make(chan error, len(servers))
	for _, server := range servers {
		go func() { failed <- server.ActivateAndServe() }()
	}
	stop := context.AfterFunc(ctx, func() {
		udp.Close()
		tcp.Close()
	})
	defer stop()
	var first error
	for range servers {
		if err := <-failed; err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
			first = errors.Join(first, fmt.Errorf("serve names: %w", err))
		}
	}
	return first
}

func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	reply := s.answer(q)
	if reply == nil {
		select {
		case s.inFlight <- struct{}{}:
			reply = s.pass(ctx, q)
			<-s.inFlight
		default:
			reply = failure(q, dns.RcodeServerFailure)
		}
	}
	if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
		reply.Truncate(size)
	}
	if err := w.WriteMsg(reply); err != nil {
		s.log.LogAttrs(ctx, slog.LevelDebug, "answer not sent", slog.Any("err", err))
	}
}

func failure(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, code)
	m.RecursionAvailable = true
	return m
}

// answer replies from the table; nil means that others must be asked.
func (s *Server) answer(q *dns.Msg) *dns.Msg {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return failure(q, dns.RcodeNotImplemented)
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	t := s.table.Load()
	m := failure(q, dns.RcodeSuccess)
	m.Authoritative = true
	if target, ok := t.Aliases[name]; ok {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(question.Name, dns.TypeCNAME), Target: target})
		for _, ip := range t.Addresses[target] {
			m.Answer = append(m.Answer, a(target, ip))
		}
		return m
	}
	if ips, ok := t.Addresses[name]; ok {
		if question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY {
			for _, ip := range ips {
				m.Answer = append(m.Answer, a(question.Name, ip))
			}
		}
		return m // a known name without the type: no data
	}
	if targets, ok := t.Services[name]; ok {
		if question.Qtype == dns.TypeSRV || question.Qtype == dns.TypeANY {
			for _, target := range targets {
				m.Answer = append(m.Answer, &dns.SRV{Hdr: header(question.Name, dns.TypeSRV), Priority: 0, Weight: 100, Port: target.Port, Target: target.Target})
			}
		}
		return m
	}
	if dns.IsSubDomain(s.zone, name) {
		m.Rcode = dns.RcodeNameError
		return m
	}
	return nil
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func a(name string, ip netip.Addr) dns.RR {
	return &dns.A{Hdr: header(name, dns.TypeA), A: ip.AsSlice()}
}

func (s *Server) pass(ctx context.Context, q *dns.Msg) *dns.Msg {
	if s.forward == nil {
		return failure(q, dns.RcodeRefused)
	}
	packed, err := q.Pack()
	if err != nil {
		return failure(q, dns.RcodeFormatError)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	raw, err := s.forward(ctx, packed)
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelDebug, "name not resolved", slog.String("name", q.Question[0].Name), slog.Any("err", err))
		return failure(q, dns.RcodeServerFailure)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(raw); err != nil || reply.Id != q.Id {
		return failure(q, dns.RcodeServerFailure)
	}
	return reply
}
