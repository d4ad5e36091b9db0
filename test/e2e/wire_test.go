//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/local/api"
)

// envCapture makes this test binary the listener on the wire.
const envCapture = "MESH_E2E_CAPTURE"

func capturing() bool { return os.Getenv(envCapture) != "" }

// captureMain writes every IP packet that a pod sends to standard output, with
// its length in four bytes before it, until standard input ends. It runs inside
// the node's network namespace, where every pod's cable ends.
func captureMain() int {
	err := capture(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const captureReady = "ready\n"

func capture(end io.Reader, out io.Writer) error {
	network := unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network order, as packet(7) wants it
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, network)
	if err != nil {
		return fmt.Errorf("listen on the wire: %w", err)
	}
	// Best effort: a larger buffer loses fewer packets on a busy machine.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("listen on the wire: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "wire")
	go func() {
		_, _ = io.Copy(io.Discard, end)
		socket.Close() // ends the loop below
	}()
	if _, err := io.WriteString(out, captureReady); err != nil {
		return err
	}
	packet := make([]byte, 4+(128<<10))
	for {
		n, err := socket.Read(packet[4:])
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from the wire: %w", err)
		}
		binary.BigEndian.PutUint32(packet, uint32(n))
		if _, err := out.Write(packet[:4+n]); err != nil {
			return err
		}
	}
}

// onWire runs traffic and returns the packets that pods sent meanwhile.
func (m *mesh) onWire(t *testing.T, traffic func()) []segment {
	t.Helper()
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node := 0
	for pid := range descendants(t, s.PID) {
		if f := stat(pid); len(f) > 1 && f[1] == strconv.Itoa(s.PID) && strings.HasPrefix(commandLine(pid), "meshctl-local node") {
			node = pid
		}
	}
	if node == 0 {
		t.Fatalf("process %d has no node", s.PID)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "nsenter", "--target", strconv.Itoa(node), "--user", "--net", "--preserve-credentials", self)
	cmd.Env = append(os.Environ(), envCapture+"=1")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len(captureReady))
	if _, err := io.ReadFull(out, first); err != nil {
		t.Fatalf("the listener did not start: %v\n%s", err, problems.Bytes())
	}
	packets := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(out) // what is cut off at the end is not looked at
		packets <- all
	}()
	traffic()
	in.Close()
	all := <-packets
	if err := cmd.Wait(); err != nil {
		t.Fatalf("listener: %v\n%s", err, problems.Bytes())
	}
	var segments []segment
	for len(all) >= 4 {
		n := int(binary.BigEndian.Uint32(all))
		if len(all) < 4+n {
			break
		}
		if seg, ok := parseSegment(all[4 : 4+n]); ok {
			segments = append(segments, seg)
		}
		all = all[4+n:]
	}
	return segments
}

// segment is the payload of one TCP packet.
type segment struct {
	from, to netip.AddrPort
	payload  []byte
}

func parseSegment(packet []byte) (segment, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != unix.IPPROTO_TCP {
		return segment{}, false
	}
	head := int(packet[0]&15) * 4
	total := int(binary.BigEndian.Uint16(packet[2:]))
	if total == 0 || total > len(packet) { // larger than 64 KiB, cut up later by the card
		total = len(packet)
	}
	if total < head+20 {
		return segment{}, false
	}
	tcp := packet[head:total]
	offset := int(tcp[12]>>4) * 4
	if offset < 20 || offset >= len(tcp) {
		return segment{}, false
	}
	from, _ := netip.AddrFromSlice(packet[12:16])
	to, _ := netip.AddrFromSlice(packet[16:20])
	return segment{
		from:    netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp)),
		to:      netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:])),
		payload: tcp[offset:],
	}, true
}

// isTLS reports whether a payload begins with the head of a TLS record.
func isTLS(p []byte) bool { return len(p) >= 5 && p[0] >= 20 && p[0] <= 23 && p[1] == 3 && p[2] <= 4 }

// plainly finds what no bytes on the wire may hold.
func plainly(p []byte) string {
	for _, word := range []string{"HTTP/1.", "plainly-visible", "end-user", "/reviews/", "/details/", "/ratings/", "PRI * HTTP/2"} {
		if bytes.Contains(p, []byte(word)) {
			return word
		}
	}
	return ""
}

// Between workloads of the mesh there is nothing but TLS on the wire. That the
// listener sees plaintext where there is some is shown by a caller without a
// sidecar.
func testWire(t *testing.T, m *mesh) {
	m.applyText(t, outsider)
	out := m.pod(t, "outsider")
	pods, err := m.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	meshed := map[netip.Addr]api.Pod{}
	for _, p := range pods {
		if ip, err := netip.ParseAddr(p.IP); err == nil && p.Proxy != "none" {
			meshed[ip] = p
		}
	}
	const pages = 30
	segments := m.onWire(t, func() {
		for range pages {
			if a := m.get(t, "/productpage", "end-user", "jason", "x-secret", "plainly-visible"); a.code != 200 {
				t.Errorf("%s", a)
			}
		}
		details := m.pod(t, "details-v1").IP + ":9080"
		if a, err := ask(t, m.from(out, details), "http://"+details+"/details/0", "x-secret", "plainly-visible"); err != nil || a.code != 200 {
			t.Errorf("outsider: %s %v", a, err)
		}
	})
	records, seen, pairs := 0, false, map[string]int{}
	for _, s := range segments {
		from, fromMesh := meshed[s.from.Addr()]
		to, toMesh := meshed[s.to.Addr()]
		if s.from.Addr().String() == out.IP && plainly(s.payload) == "HTTP/1." {
			seen = true
		}
		if !fromMesh || !toMesh {
			continue
		}
		if word := plainly(s.payload); word != "" {
			t.Errorf("%s:%d sends %s:%d %q in the clear", from.Name, s.from.Port(), to.Name, s.to.Port(), word)
		}
		if isTLS(s.payload) {
			records++
			pairs[from.Workload+" -> "+to.Workload]++
		}
	}
	t.Logf("%d segments, %d of them TLS between pods of the mesh: %v", len(segments), records, pairs)
	if !seen {
		t.Error("the plaintext of a caller without a sidecar was not seen: the listener is blind")
	}
	for _, pair := range []string{
		"Deployment/istio-ingressgateway -> Deployment/productpage-v1",
		"Deployment/productpage-v1 -> Deployment/details-v1",
	} {
		if pairs[pair] < pages {
			t.Errorf("%s: %d TLS records for %d pages", pair, pairs[pair], pages)
		}
	}
}
