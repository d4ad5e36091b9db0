package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/meshctl/meshctl/internal/nametable"
)

// Limits of the proxy.
const (
	answerTTL      = 30 // seconds
	forwardTimeout = 5 * time.Second
	maxInFlight    = 512 // forwarded queries at once
	maxAnswers     = 64  // addresses in one answer
)

// Options configure a Server.
type Options struct {
	// Addr is where to listen, UDP and TCP.
	Addr netip.AddrPort
	// IPv6: the program can use addresses of it. They are answered, and questions that
	// are captured on their way over IPv6 are taken: at ::1, where it is, and Addr's port.
	IPv6 bool
	// NoIPv4: the program can use no addresses of IPv4, and none are answered.
	NoIPv4 bool
	// Domain is the pod's DNS domain, e.g. default.svc.cluster.local.
	Domain string
	// Upstreams are the servers for names that are not of the mesh, host:port.
	Upstreams []string
	// Control prepares outgoing sockets (the mark that exempts them from capture); may be nil.
	Control func(network, address string, c syscall.RawConn) error
	Logger  *slog.Logger
}

// Server is the DNS proxy. Safe for concurrent use.
type Server struct {
	o      Options
	tab    atomic.Pointer[table]
	turn   atomic.Uint32
	slots  chan struct{}
	on     []*dns.Server
	client map[string]*dns.Client

	mu     sync.Mutex
	tables map[string]nametable.Table

	answered, forwarded, failed atomic.Uint64
}

// New makes a server; Listen opens its sockets.
func New(o Options) *Server {
	s := &Server{o: o, slots: make(chan struct{}, maxInFlight), tables: map[string]nametable.Table{}, client: map[string]*dns.Client{}}
	d := &net.Dialer{Timeout: forwardTimeout, Control: o.Control}
	for _, network := range []string{"udp", "tcp"} {
		s.client[network] = &dns.Client{Net: network, Timeout: forwardTimeout, Dialer: d, UDPSize: dns.DefaultMsgSize}
	}
	return s
}

// Update replaces and removes named tables (one resource each) and takes the
// result into force at once.
func (s *Server) Update(set map[string]nametable.Table, removed []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.tables, set)
	for _, n := range removed {
		delete(s.tables, n)
	}
	s.tab.Store(compile(s.tables, s.o.Domain))
}

// Stats counts queries since the start.
type Stats struct{ Answered, Forwarded, Failed uint64 }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{s.answered.Load(), s.forwarded.Load(), s.failed.Load()}
}

// Table returns what is known, for debugging pages.
func (s *Server) Table() map[string]nametable.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]nametable.Table, len(s.tables))
	maps.Copy(out, s.tables)
	return out
}

// anyPort is how often a pair of ports is looked for when the address names none:
// a port that is free for UDP may be taken for TCP.
const anyPort = 20

// Listen opens the sockets; it returns the address in use.
func (s *Server) Listen(ctx context.Context) (netip.AddrPort, error) {
	pc, ln, err := listenBoth(ctx, s.o.Addr)
	for try := 1; err != nil && s.o.Addr.Port() == 0 && try < anyPort; try++ {
		pc, ln, err = listenBoth(ctx, s.o.Addr)
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	s.take(pc, ln)
	at := addressOf(pc)
	if s.o.IPv6 && at.Addr().Is4() && at.Addr().IsLoopback() {
		six := netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())
		switch pc, ln, err := listenBoth(ctx, six); {
		case err == nil:
			s.take(pc, ln)
		case errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT): // off on loopback
		default:
			_ = errors.Join(s.on[0].PacketConn.Close(), s.on[1].Listener.Close())
			return netip.AddrPort{}, err
		}
	}
	return at, nil
}

// take serves questions on the sockets of a port.
func (s *Server) take(pc net.PacketConn, ln net.Listener) {
	h := dns.HandlerFunc(s.serve)
	s.on = append(s.on, &dns.Server{PacketConn: pc, Handler: h, UDPSize: dns.DefaultMsgSize}, &dns.Server{
		Listener: ln, Handler: h, ReadTimeout: forwardTimeout, MaxTCPQueries: 128,
		IdleTimeout: func() time.Duration { return 10 * time.Second },
	})
}

func addressOf(pc net.PacketConn) netip.AddrPort { return pc.LocalAddr().(*net.UDPAddr).AddrPort() }

// listenBoth opens UDP and TCP on one port.
func listenBoth(ctx context.Context, addr netip.AddrPort) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", addr.String())
	if err != nil {
		return nil, nil, fmt.Errorf("listen for DNS on udp %s: %w", addr, err)
	}
	at := addressOf(pc)
	ln, err := lc.Listen(ctx, "tcp", at.String())
	if err != nil {
		_ = pc.Close()
		return nil, nil, fmt.Errorf("listen for DNS on tcp %s: %w", at, err)
	}
	return pc, ln, nil
}

// Serve answers until ctx ends; Listen must have been called.
func (s *Server) Serve(ctx context.Context) error {
	errs := make(chan error, len(s.on))
	var started sync.WaitGroup
	for _, srv := range s.on {
		started.Add(1)
		srv.NotifyStartedFunc = started.Done
		go func() { errs <- srv.ActivateAndServe() }()
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		started.Wait()
		<-ctx.Done()
		for _, srv := range s.on {
			_ = srv.Shutdown()
		}
	}()
	var err error
	for range s.on {
		err = errors.Join(err, <-errs)
	}
	<-stopped
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *Server) serve(w dns.ResponseWriter, q *dns.Msg) {
	answer := s.answer(q)
	if answer == nil {
		answer = s.forward(w, q)
	}
	if opt := q.IsEdns0(); opt != nil && answer.IsEdns0() == nil {
		answer.SetEdns0(dns.DefaultMsgSize, opt.Do())
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = max(size, min(int(opt.UDPSize()), dns.DefaultMsgSize))
		}
		answer.Truncate(size)
	}
	if err := w.WriteMsg(answer); err != nil {
		s.o.Logger.Debug("dns answer not sent", "err", err)
	}
}

// answer makes the reply to a name of the mesh, nil when it is none of ours.
func (s *Server) answer(q *dns.Msg) *dns.Msg {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		s.failed.Add(1)
		return new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
	}
	tab := s.tab.Load()
	if tab == nil {
		s.failed.Add(1)
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	qu := q.Question[0]
	if qu.Qclass != dns.ClassINET {
		return nil
	}
	name := dns.CanonicalName(qu.Name)
	e, alias := tab.lookup(name[:len(name)-1])
	if e == nil {
		return nil
	}
	s.answered.Add(1)
	m := new(dns.Msg).SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	owner := qu.Name
	if alias != "" {
		target := dns.Fqdn(alias)
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: rrHeader(owner, dns.TypeCNAME), Target: target})
		owner = target
	}
	switch qu.Qtype {
	case dns.TypeA:
		if s.o.NoIPv4 {
			break
		}
		m.Answer = s.addresses(m.Answer, owner, e.v4)
	case dns.TypeAAAA:
		if !s.o.IPv6 {
			break // the program would try them first, in vain
		}
		m.Answer = s.addresses(m.Answer, owner, e.v6)
	}
	return m
}

func rrHeader(name string, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: answerTTL}
}

// addresses appends records beginning at another address each time.
func (s *Server) addresses(rrs []dns.RR, owner string, as []netip.Addr) []dns.RR {
	if len(as) == 0 {
		return rrs
	}
	first := int(s.turn.Add(1)) % len(as)
	for i := range min(len(as), maxAnswers) {
		a := as[(first+i)%len(as)]
		if a.Is4() {
			rrs = append(rrs, &dns.A{Hdr: rrHeader(owner, dns.TypeA), A: a.AsSlice()})
		} else {
			rrs = append(rrs, &dns.AAAA{Hdr: rrHeader(owner, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return rrs
}

// forward asks the upstream servers in order.
func (s *Server) forward(w dns.ResponseWriter, q *dns.Msg) *dns.Msg {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.failed.Add(1)
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	network := "udp"
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		network = "tcp"
	}
	for _, up := range s.o.Upstreams {
		r, _, err := s.client[network].Exchange(q, up)
		if err != nil {
			s.o.Logger.Debug("dns server did not answer", "server", up, "err", err)
			continue
		}
		s.forwarded.Add(1)
		r.Id = q.Id
		return r
	}
	s.failed.Add(1)
	return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
}
