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
	"sync"
)

// ErrGone is returned when the host-side process is no longer there.
var ErrGone = errors.New("the host-side process is gone")

// Accepted is called with each connection to a publication. It owns conn and
// must return soon or work in a goroutine of its own.
type Accepted func(ctx context.Context, publication string, conn net.Conn)

// Node is the half inside the namespaces.
type Node struct {
	link     *Link
	accepted Accepted
	log      *slog.Logger

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan result
	gone    bool
}

type result struct {
	message
	file *os.File
}

// NewNode talks to the host at the other end of link once Run is called.
func NewNode(link *Link, accepted Accepted, log *slog.Logger) *Node {
	return &Node{link: link, accepted: accepted, log: log, waiting: map[uint64]chan result{}}
}

// ReceiveHello waits for the host's settings; call it once, before Run.
func ReceiveHello(link *Link, settings any) error {
	m, f, err := link.receive(make([]byte, maxMessage))
	closeFile(f)
	if err != nil {
		return fmt.Errorf("receive node settings: %w", err)
	}
	if m.Op != opHello {
		return fmt.Errorf("receive node settings: got %q first", m.Op)
	}
	if err := json.Unmarshal(m.Data, settings); err != nil {
		return fmt.Errorf("decode node settings: %w", err)
	}
	return nil
}

// Run takes messages until the host is gone (ErrGone) or ctx ends (its error).
func (n *Node) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { n.link.Close() })
	defer stop()
	defer n.failAll()
	buf := make([]byte, maxMessage)
	for {
		m, f, err := n.link.receive(buf)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, io.EOF) {
				return ErrGone
			}
			return err
		}
		switch m.Op {
		case opAccepted:
			n.accept(ctx, m, f)
		case opAnswer:
			n.deliver(m, f)
		default:
			closeFile(f)
			n.log.LogAttrs(ctx, slog.LevelWarn, "bridge message not understood", slog.String("op", m.Op))
		}
	}
}

func (n *Node) accept(ctx context.Context, m message, f *os.File) {
	conn, err := toConn(f)
	if err != nil {
		n.log.LogAttrs(ctx, slog.LevelWarn, "published connection not taken over", slog.Any("err", err))
		return
	}
	n.accepted(ctx, m.Target, conn)
}

// toConn makes a connection of a received descriptor, which it takes over.
func toConn(f *os.File) (net.Conn, error) {
	if f == nil {
		return nil, errors.New("no connection came with the message")
	}
	defer f.Close()
	return net.FileConn(f)
}

func (n *Node) deliver(m message, f *os.File) {
	n.mu.Lock()
	ch := n.waiting[m.ID]
	delete(n.waiting, m.ID)
	n.mu.Unlock()
	if ch == nil { // nobody waits any more
		closeFile(f)
		return
	}
	ch <- result{m, f}
}

func (n *Node) failAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = true
	for id, ch := range n.waiting {
		delete(n.waiting, id)
		ch <- result{message: message{Err: ErrGone.Error()}}
	}
}

// ask sends a request and waits for its answer.
func (n *Node) ask(ctx context.Context, m message) (result, error) {
	ch := make(chan result, 1)
	n.mu.Lock()
	if n.gone {
		n.mu.Unlock()
		return result{}, ErrGone
	}
	n.next++
	m.ID = n.next
	n.waiting[m.ID] = ch
	n.mu.Unlock()
	if err := n.link.send(m, nil); err != nil {
		n.forget(m.ID, ch)
		return result{}, err
	}
	select {
	case r := <-ch:
		if r.Err != "" {
			closeFile(r.file)
			return result{}, errors.New(r.Err)
		}
		return r, nil
	case <-ctx.Done():
		n.forget(m.ID, ch)
		return result{}, ctx.Err()
	}
}

// forget stops waiting; an answer that came meanwhile is thrown away.
func (n *Node) forget(id uint64, ch chan result) {
	n.mu.Lock()
	_, waiting := n.waiting[id]
	delete(n.waiting, id)
	n.mu.Unlock()
	if !waiting {
		select {
		case r := <-ch:
			closeFile(r.file)
		default:
			// deliver took the channel out and is about to send; it is buffered.
			go func() { closeFile((<-ch).file) }()
		}
	}
}

// DialOutside opens a TCP connection on the host's network to a literal address.
func (n *Node) DialOutside(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	r, err := n.ask(ctx, message{Op: opDial, Target: address.String()})
	if err != nil {
		return nil, fmt.Errorf("dial %s outside of the mesh: %w", address, err)
	}
	return toConn(r.file)
}

// ExchangeDNS asks the host's name servers; both are DNS messages (RFC 1035).
func (n *Node) ExchangeDNS(ctx context.Context, question []byte) ([]byte, error) {
	r, err := n.ask(ctx, message{Op: opDNS, Data: question})
	if err != nil {
		return nil, err
	}
	closeFile(r.file)
	return r.Data, nil
}

// Call runs a function of the host.
func (n *Node) Call(ctx context.Context, name string, in []byte) ([]byte, error) {
	r, err := n.ask(ctx, message{Op: opCall, Target: name, Data: in})
	if err != nil {
		return nil, err
	}
	closeFile(r.file)
	return r.Data, nil
}

// Listen publishes a port on the host and returns the address it got.
func (n *Node) Listen(ctx context.Context, l Listen) (string, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return "", fmt.Errorf("encode publication: %w", err)
	}
	r, err := n.ask(ctx, message{Op: opListen, Data: b})
	if err != nil {
		return "", err
	}
	closeFile(r.file)
	return r.Target, nil
}

// Unlisten ends a publication; connections already handed over live on.
func (n *Node) Unlisten(id string) error {
	return n.link.send(message{Op: opUnlisten, Target: id}, nil)
}
