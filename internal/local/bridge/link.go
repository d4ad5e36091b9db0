package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one message; a DNS answer is at most 64 KiB, in base64.
const maxMessage = 128 << 10

// operations of the protocol.
const (
	opHello    = "hello"    // host to node: Data is the node's settings
	opAccepted = "accepted" // host to node: a connection to the publication Target
	opDial     = "dial"     // node to host: connect to Target
	opDNS      = "dns"      // node to host: ask the question in Data
	opListen   = "listen"   // node to host: listen for a publication
	opUnlisten = "unlisten" // node to host: stop listening for publication Target
	opCall     = "call"     // node to host: run the function Target with Data
	opAnswer   = "answer"   // host to node: result of the request with this ID
)

// message is one packet; a connection may come with it.
type message struct {
	ID     uint64 `json:"id,omitempty"`
	Op     string `json:"op"`
	Target string `json:"target,omitempty"`
	Err    string `json:"err,omitempty"`
	Data   []byte `json:"data,omitempty"`
}

// Link is one end of the socket pair. Send may be called from many goroutines,
// receive from one.
type Link struct {
	conn *net.UnixConn
	mu   sync.Mutex // one writer at a time
}

// Pair makes the two ends. The second is to be inherited by the node.
func Pair() (*Link, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "bridge-host"), os.NewFile(uintptr(fds[1]), "bridge-node")
	l, err := Open(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return l, theirs, nil
}

// Open makes a Link of an inherited end and takes the file over.
func Open(f *os.File) (*Link, error) {
	defer f.Close()
	unix.CloseOnExec(int(f.Fd()))
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open bridge socket: %w", err)
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("open bridge socket: got %T, want a Unix socket", c)
	}
	return &Link{conn: uc}, nil
}

// Close ends the link; the other half sees it.
func (l *Link) Close() error { return l.conn.Close() }

// send passes m and, when conn is not nil, a copy of its descriptor. The caller
// still owns conn.
func (l *Link) send(m message, conn *os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode bridge message: %w", err)
	}
	if len(b) > maxMessage {
		return fmt.Errorf("bridge message of %d bytes: limit is %d", len(b), maxMessage)
	}
	var rights []byte
	if conn != nil {
		rights = unix.UnixRights(int(conn.Fd()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, _, err := l.conn.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("send over bridge: %w", err)
	}
	return nil
}

// receive waits for one message. The file, when there is one, is the caller's.
// It returns io.EOF when the other half is gone.
func (l *Link) receive(buf []byte) (message, *os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, flags, _, err := l.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
		return message{}, nil, err
	}
	file, err := oneFile(oob[:oobn])
	if err != nil {
		return message{}, nil, err
	}
	if n == 0 {
		closeFile(file)
		return message{}, nil, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeFile(file)
		return message{}, nil, errors.New("receive over bridge: message cut short")
	}
	var m message
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		closeFile(file)
		return message{}, nil, fmt.Errorf("decode bridge message: %w", err)
	}
	return m, file, nil
}

// oneFile takes the descriptor out of control messages; more than one is an
// error, and then none stays open.
func oneFile(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var all []int
	for _, c := range controls {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			continue
		}
		all = append(all, fds...)
	}
	if len(all) == 0 {
		return nil, nil
	}
	for _, fd := range all {
		unix.CloseOnExec(fd)
	}
	if len(all) > 1 {
		for _, fd := range all {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("receive over bridge: %d descriptors in one message", len(all))
	}
	return os.NewFile(uintptr(all[0]), "bridged"), nil
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}
