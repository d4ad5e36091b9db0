package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// maxPortTries is how many ports after the wanted one are tried.
const maxPortTries = 100

// Listen asks for a publication: connections to Host:Port on the real network
// are handed to the node under the name ID.
type Listen struct {
	ID   string `json:"id"`
	Host string `json:"host"` // a literal address; 127.0.0.1 unless the user asked for more
	Port int    `json:"port"` // 0: any free port
	Next bool   `json:"next"` // when the port is in use, take the next free one
}

// HostOptions says what the host does for the node.
type HostOptions struct {
	Outside bool // whether pods may reach outside addresses
	// Named are addresses that the node may reach besides, loopback too: whoever
	// started the mesh named them for the control plane. A pod's own loopback is
	// another, so that no pod can ask for one of these.
	Named      []netip.AddrPort
	DNSServers []netip.AddrPort
	// Calls are functions the node may have run here, by name. They may take long.
	Calls map[string]func(ctx context.Context, in []byte) ([]byte, error)
	Log   *slog.Logger
}

// Host is the half with the real network.
type Host struct {
	link *Link
	opts HostOptions

	mu        sync.Mutex
	listeners map[string]net.Listener
}

// NewHost serves the node at the other end of link once Run is called.
func NewHost(link *Link, opts HostOptions) *Host {
	return &Host{link: link, opts: opts, listeners: map[string]net.Listener{}}
}

// Hello sends the node its settings; call it once, before Run.
func (h *Host) Hello(settings any) error {
	b, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("encode node settings: %w", err)
	}
	return h.link.send(message{Op: opHello, Data: b}, nil)
}

// Run answers the node until it is gone (nil) or ctx ends. All listeners are
// closed when it returns.
func (h *Host) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		h.closeListeners()
		h.link.Close()
		wg.Wait()
	}()
	stop := context.AfterFunc(ctx, func() { h.link.Close() })
	defer stop()
	buf := make([]byte, maxMessage)
	for {
		m, f, err := h.link.receive(buf)
		closeFile(f) // the node never passes one to us
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		switch m.Op {
		case opDial:
			wg.Go(func() { h.dial(ctx, m) })
		case opDNS:
			wg.Go(func() { h.askDNS(ctx, m) })
		case opCall:
			wg.Go(func() { h.call(ctx, m) })
		case opListen:
			h.listen(ctx, m, &wg)
		case opUnlisten:
			h.unlisten(m.Target)
		default:
			h.opts.Log.LogAttrs(ctx, slog.LevelWarn, "bridge message not understood", slog.String("op", m.Op))
		}
	}
}

func (h *Host) answer(id uint64, m message, f *os.File, err error) {
	m.ID, m.Op = id, opAnswer
	if err != nil {
		m.Err = err.Error()
	}
	if err := h.link.send(m, f); err != nil {
		h.opts.Log.LogAttrs(context.Background(), slog.LevelDebug, "answer to node not sent", slog.Any("err", err))
	}
}

func (h *Host) call(ctx context.Context, m message) {
	fn := h.opts.Calls[m.Target]
	if fn == nil {
		h.answer(m.ID, message{}, nil, fmt.Errorf("the host has no function %q", m.Target))
		return
	}
	out, err := fn(ctx, m.Data)
	h.answer(m.ID, message{Data: out}, nil, err)
}

func (h *Host) dial(ctx context.Context, m message) {
	conn, err := h.dialOutside(ctx, m.Target)
	if err != nil {
		h.answer(m.ID, message{}, nil, err)
		return
	}
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		h.answer(m.ID, message{}, nil, err)
		return
	}
	defer f.Close()
	h.answer(m.ID, message{}, f, nil)
}

func (h *Host) dialOutside(ctx context.Context, target string) (*net.TCPConn, error) {
	ap, err := netip.ParseAddrPort(target)
	if err != nil {
		return nil, fmt.Errorf("dial outside: %w", err)
	}
	named := slices.Contains(h.opts.Named, ap)
	if !h.opts.Outside && !named {
		return nil, errors.New("this mesh was started without access to outside addresses")
	}
	if a := ap.Addr().Unmap(); !named && (a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast()) {
		// Services that listen on localhost only rely on not being reachable.
		return nil, fmt.Errorf("dial outside: %s is not an outside address", ap)
	}
	d := net.Dialer{Timeout: 30 * time.Second}
	c, err := d.DialContext(ctx, "tcp", ap.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (h *Host) listen(ctx context.Context, m message, wg *sync.WaitGroup) {
	var want Listen
	if err := json.Unmarshal(m.Data, &want); err != nil {
		h.answer(m.ID, message{}, nil, fmt.Errorf("decode publication: %w", err))
		return
	}
	ln, err := listenNear(want)
	if err != nil {
		h.answer(m.ID, message{}, nil, err)
		return
	}
	h.mu.Lock()
	old := h.listeners[want.ID]
	h.listeners[want.ID] = ln
	h.mu.Unlock()
	if old != nil {
		old.Close()
	}
	h.answer(m.ID, message{Target: ln.Addr().String()}, nil, nil)
	wg.Go(func() { h.accept(ctx, want.ID, ln) })
}

// listenNear listens on the wanted port or, if that is allowed, the next free one.
func listenNear(want Listen) (net.Listener, error) {
	if _, err := netip.ParseAddr(want.Host); err != nil {
		return nil, fmt.Errorf("publish %s: %w", want.ID, err)
	}
	var firstErr error
	for port := want.Port; port <= 65535 && port < want.Port+maxPortTries; port++ {
		ln, err := net.Listen("tcp", net.JoinHostPort(want.Host, strconv.Itoa(port)))
		if err == nil {
			return ln, nil
		}
		if firstErr == nil {
			firstErr = err
		}
		if !want.Next || !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			break
		}
	}
	return nil, fmt.Errorf("publish %s: %w", want.ID, firstErr)
}

func (h *Host) accept(ctx context.Context, id string, ln net.Listener) {
	defer ln.Close()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if isTemporary(err) {
				// Out of descriptors: let others end before trying again.
				timer := time.NewTimer(50 * time.Millisecond)
				select {
				case <-timer.C:
					continue
				case <-ctx.Done():
					timer.Stop()
				}
			}
			return
		}
		if err := h.handOver(id, conn.(*net.TCPConn)); err != nil {
			h.opts.Log.LogAttrs(ctx, slog.LevelWarn, "published connection not handed over",
				slog.String("publication", id), slog.Any("err", err))
		}
	}
}

func (h *Host) handOver(id string, conn *net.TCPConn) error {
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return h.link.send(message{Op: opAccepted, Target: id}, f)
}

func (h *Host) unlisten(id string) {
	h.mu.Lock()
	ln := h.listeners[id]
	delete(h.listeners, id)
	h.mu.Unlock()
	if ln != nil {
		ln.Close()
	}
}

func (h *Host) closeListeners() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, ln := range h.listeners {
		ln.Close()
		delete(h.listeners, id)
	}
}
