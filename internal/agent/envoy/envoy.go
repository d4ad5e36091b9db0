package envoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"

	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/nametable"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// Options say which Envoy is run, and what it is connected to.
type Options struct {
	// Program is the path of the executable.
	Program string
	// Dir is a folder for the bootstrap and the socket; it is made if need be, and
	// what is put there is gone after Run.
	Dir string
	// Node is who the proxy says it is.
	Node  *corev3.Node
	Admin netip.AddrPort
	// Concurrency is the number of worker threads.
	Concurrency int
	// Mark is the SO_MARK of outgoing sockets, exempting them from capture; 0: none.
	Mark int
	// DrainTime is how long connections are given to end when their listener is
	// drained, or replaced by a changed one.
	DrainTime time.Duration
	// LogLevel and ComponentLevels are in Envoy's words; "" is warning.
	LogLevel        string
	ComponentLevels map[string]string
	// Stats are wanted beside those that are always kept.
	Stats Stats

	// Dial and Context reach the control plane; called for each stream.
	Dial    func(ctx context.Context) (grpc.ClientConnInterface, error)
	Context func(ctx context.Context) (context.Context, error)
	// Names gets DNS names as they come.
	Names  func(set map[string]nametable.Table, removed []string)
	Logger *slog.Logger
	// Output gets what Envoy writes to its standard output, which is where access
	// logs go; nil: the standard output of this process.
	Output *os.File

	// MinRestart and MaxRestart bound the pause before Envoy is started again;
	// defaults 100 ms and 10 s.
	MinRestart, MaxRestart time.Duration
}

// Plane is a running Envoy.
type Plane struct {
	o       Options
	log     *slog.Logger
	relay   *relay
	secrets *secrets
	admin   *http.Client
	// ready: the process that runs now has served already.
	ready atomic.Bool
}

// files in Options.Dir.
const (
	fileBootstrap = "envoy-rev.json"
	fileSocket    = "agent.sock"
)

// maxSocketPath is what the kernel takes (unix(7)): 108 bytes with the last zero.
const maxSocketPath = 107

// New checks that there is a program to run; Run starts it.
func New(o Options) (*Plane, error) {
	info, err := os.Stat(o.Program)
	switch {
	case err != nil:
		return nil, fmt.Errorf("find the Envoy program: %w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return nil, fmt.Errorf("the Envoy program %s is not an executable file", o.Program)
	}
	if o.Output == nil {
		o.Output = os.Stdout
	}
	if o.MinRestart <= 0 {
		o.MinRestart = 100 * time.Millisecond
	}
	if o.MaxRestart <= 0 {
		o.MaxRestart = 10 * time.Second
	}
	p := &Plane{o: o, log: o.Logger, secrets: newSecrets(o.Logger), admin: &http.Client{Timeout: adminTimeout, Transport: &http.Transport{
		DialContext: (&net.Dialer{}).DialContext, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
	}}}
	p.relay = &relay{dial: o.Dial, context: o.Context, names: o.Names, log: o.Logger}
	return p, nil
}

// SetWorkload gives Envoy a certificate for new handshakes.
func (p *Plane) SetWorkload(w *identity.Workload) error { return p.secrets.set(w) }

// ReportHealth tells the control plane how the workload is, on Envoy's stream.
func (p *Plane) ReportHealth(healthy bool, reason string) {
	p.relay.report(xdsclient.Health{Healthy: healthy, Reason: reason})
}

// Run serves until ctx ends, or until somebody has told Envoy to end.
func (p *Plane) Run(ctx context.Context) error {
	if err := os.MkdirAll(p.o.Dir, 0o700); err != nil {
		return fmt.Errorf("make Envoy's folder: %w", err)
	}
	socket, bootstrap := filepath.Join(p.o.Dir, fileSocket), filepath.Join(p.o.Dir, fileBootstrap)
	if len(socket) > maxSocketPath {
		return fmt.Errorf("the path of Envoy's socket has %d bytes, and the kernel takes %d: %s", len(socket), maxSocketPath, socket)
	}
	text, err := p.o.bootstrap(socket)
	if err != nil {
		return err
	}
	_ = os.Remove(socket) // of a process that was killed
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listen for Envoy: %w", err)
	}
	if err := errors.Join(os.Chmod(socket, 0o600), os.WriteFile(bootstrap, text, 0o600)); err != nil {
		_ = ln.Close()
		return fmt.Errorf("write Envoy's files: %w", err)
	}
	defer func() { _ = os.Remove(bootstrap) }()

	server := grpc.NewServer(grpc.MaxRecvMsgSize(math.MaxInt32), grpc.WaitForHandlers(true))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, p.relay)
	secretv3.RegisterSecretDiscoveryServiceServer(server, p.secrets)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	err = p.supervise(ctx, bootstrap)
	server.Stop()
	p.admin.CloseIdleConnections()
	if failed := <-served; failed != nil {
		err = errors.Join(err, fmt.Errorf("serve Envoy: %w", failed))
	}
	return err
}
