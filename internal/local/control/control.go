// Package control serves the control API (package api) of a local mesh on a
// Unix socket that only the user who runs the mesh may use.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/pod"
)

// Mesh is what the server shows and changes.
type Mesh interface {
	Status() api.Status
	Events(ctx context.Context, after uint64, follow bool, each func(api.Event) error) error
	Pod(namespace, name string) (*pod.Pod, error)
	Restart(p *pod.Pod)
	Scale(key controller.WorkloadKey, replicas int) error
}

// Server is the control API. Make it with New.
type Server struct {
	mesh Mesh
	stop func()
	log  *slog.Logger
	mux  *http.ServeMux
}

// New makes a server. stop is called when somebody asks the mesh to end.
func New(mesh Mesh, stop func(), log *slog.Logger) *Server {
	s := &Server{mesh: mesh, stop: stop, log: log, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET "+api.PathStatus, s.status)
	s.mux.HandleFunc("GET "+api.PathPods, s.pods)
	s.mux.HandleFunc("GET "+api.PathEvents, s.events)
	s.mux.HandleFunc("POST "+api.PathStop, s.stopMesh)
	s.mux.HandleFunc("GET "+api.PathLogs, s.logs)
	s.mux.HandleFunc("POST "+api.PathExec, s.exec)
	s.mux.HandleFunc("POST "+api.PathRestart, s.restart)
	s.mux.HandleFunc("POST "+api.PathScale, s.scale)
	s.mux.HandleFunc("GET "+api.PathDial, s.dial)
	return s
}

// Handle adds an endpoint of somebody else's, such as the objects of the mesh.
// The pattern is http.ServeMux's; it may be called while the server runs.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Listen makes the socket. Only the user can connect: by its mode, and by
// asking the kernel who the peer is.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("protect control socket: %w", err)
	}
	return &ownListener{ln}, nil
}

// ownListener accepts connections of our own user only.
type ownListener struct{ net.Listener }

func (l *ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && uid == uint32(os.Geteuid()) {
			return c, nil
		}
		c.Close()
	}
}

func peerUID(c net.Conn) (uint32, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("peer of %T is unknown", c)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve control socket: %w", err)
	}
	return nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone; nobody to tell
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Error{Message: err.Error()})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { reply(w, s.mesh.Status()) }

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) { reply(w, s.mesh.Status().Pods) }

func (s *Server) stopMesh(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	s.stop()
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	var after uint64
	if text := r.FormValue("after"); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("after=%q is not a number", text))
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	_ = s.mesh.Events(r.Context(), after, r.FormValue("follow") == "true", func(e api.Event) error {
		if err := out.Encode(e); err != nil {
			return err
		}
		return flush.Flush()
	})
}

func (s *Server) pod(w http.ResponseWriter, r *http.Request) *pod.Pod {
	p, err := s.mesh.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return nil
	}
	return p
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	p := s.pod(w, r)
	if p == nil {
		return
	}
	l, err := p.Logs(r.FormValue("container"))
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	lines := -1
	if text := r.FormValue("lines"); text != "" {
		if lines, err = strconv.Atoi(text); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("lines=%q is not a number", text))
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := flusher{w, http.NewResponseController(w)}
	_ = out.control.Flush()
	_ = l.Copy(r.Context(), out, lines, r.FormValue("follow") == "true")
}

// flusher sends each write at once.
type flusher struct {
	io.Writer
	control *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}

const (
	maxExecRequest = 8 << 20
	defaultExec    = 60 * time.Second
	maxExec        = time.Hour
)

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	p := s.pod(w, r)
	if p == nil {
		return
	}
	var req api.ExecRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxExecRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("read exec request: %w", err))
		return
	}
	timeout := defaultExec
	if req.TimeoutSeconds > 0 {
		timeout = min(time.Duration(req.TimeoutSeconds)*time.Second, maxExec)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	result, err := p.Exec(ctx, req.Container, req.Command, req.Stdin)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	reply(w, result)
}

func (s *Server) restart(w http.ResponseWriter, r *http.Request) {
	if p := s.pod(w, r); p != nil {
		s.mesh.Restart(p)
		w.WriteHeader(http.StatusAccepted)
	}
}

func (s *Server) scale(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("replicas"))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("replicas=%q is not a number", r.FormValue("replicas")))
		return
	}
	key := controller.WorkloadKey{Kind: r.PathValue("kind"), Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	if err := s.mesh.Scale(key, n); err != nil {
		fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// dial joins the connection with one made in a pod, or in the node.
func (s *Server) dial(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != api.Upgrade {
		fail(w, http.StatusUpgradeRequired, fmt.Errorf("want an upgrade to %s", api.Upgrade))
		return
	}
	address := r.FormValue("address")
	if _, err := netip.ParseAddrPort(address); err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("address=%q is not ip:port", address))
		return
	}
	dial := (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	if name := r.FormValue("pod"); name != "" {
		namespace, name, err := splitPod(name)
		if err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		p, err := s.mesh.Pod(namespace, name)
		if err != nil {
			fail(w, http.StatusNotFound, err)
			return
		}
		dial = p.Dial
	}
	up, err := dial(r.Context(), "tcp", address)
	if err != nil {
		fail(w, http.StatusBadGateway, err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		up.Close()
		fail(w, http.StatusInternalServerError, err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", api.Upgrade)
	if n := buffered.Reader.Buffered(); err == nil && n > 0 {
		early, _ := buffered.Reader.Peek(n)
		_, err = up.Write(early)
	}
	if err != nil {
		conn.Close()
		up.Close()
		return
	}
	bridge.Splice(r.Context(), conn, up)
}

func splitPod(s string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok {
		return "", "", fmt.Errorf("pod=%q is not namespace/name", s)
	}
	return namespace, name, nil
}
