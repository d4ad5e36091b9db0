package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/meshctl/meshctl/internal/agent/dns"
	"github.com/meshctl/meshctl/internal/agent/envoy"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/proxy"
	"github.com/meshctl/meshctl/internal/proxy/admin"
)

// DataPlane is what the agent needs of the proxy it accompanies. There are two: the
// native one, in the agent's own process, and a stock Envoy beside it.
type DataPlane interface {
	// Run serves until ctx ends. Its own end, without an error, is somebody's wish:
	// POST /quitquitquit to the admin interface, which is the data plane's own.
	Run(ctx context.Context) error
	// SetWorkload puts a certificate into force for new handshakes.
	SetWorkload(w *identity.Workload) error
	// Ready reports whether traffic can be served, and why not. Once it can it stays
	// so as long as what serves it lives: an absent control plane must not take pods
	// out of service.
	Ready() (ok bool, why string)
	// ReportHealth tells the control plane how the workload is, now and whenever there
	// is a new stream to it.
	ReportHealth(healthy bool, reason string)
	// Drain stops accepting and ends connections gracefully; inboundOnly leaves
	// outbound listeners alone.
	Drain(inboundOnly bool)
	// Connections is the number of downstream connections.
	Connections() int
	// WriteMetrics writes Prometheus text (version 0.0.4).
	WriteMetrics(w io.Writer) error
}

// Names of data planes, in MESH_DATAPLANE.
const (
	planeNative = "native"
	planeEnvoy  = "envoy"
)

// surroundings are the parts of the agent that a data plane is connected to.
type surroundings struct {
	node      *corev3.Node
	discovery *discovery
	names     *dns.Server
	log       *slog.Logger
	levels    *admin.Levels
	quit      func()
}

// newDataPlane makes the one that the settings name.
func newDataPlane(s Settings, a surroundings) (DataPlane, error) {
	dial := func(context.Context) (grpc.ClientConnInterface, error) { return a.discovery.dial(s.Discovery) }
	if s.DataPlane == planeEnvoy {
		return newEnvoy(s, a, dial)
	}
	p, err := proxy.New(proxy.Options{
		Workers: s.Concurrency, Mark: s.Mark, LoopbackSource: s.loopbackSource(), Logger: a.log, Version: s.Version, Node: a.node, Self: s.Peer(), Admin: s.AdminAddr, Levels: a.levels, Quit: a.quit,
		Names: a.names.Update, Resolver: resolver(s), Dial: dial, Context: a.discovery.credentials,
	})
	if err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	return &native{Proxy: p}, nil
}

// native is the native proxy.
type native struct {
	*proxy.Proxy
	ready lasting
}

// Ready implements DataPlane.
func (n *native) Ready() (bool, string) { return n.ready.ask(n.Proxy.Ready) }

// lasting remembers the first yes.
type lasting struct{ yes atomic.Bool }

func (l *lasting) ask(now func() (ok bool, why string)) (ok bool, why string) {
	if l.yes.Load() {
		return true, ""
	}
	ok, why = now()
	if ok {
		l.yes.Store(true)
	}
	return ok, why
}

// stock is a stock Envoy with a folder that may be ours to remove.
type stock struct {
	*envoy.Plane
	temporary string
}

// Run implements DataPlane.
func (p stock) Run(ctx context.Context) error {
	err := p.Plane.Run(ctx)
	if p.temporary != "" {
		err = errors.Join(err, os.RemoveAll(p.temporary))
	}
	return err
}

// componentEnvoy is the logger of Envoy's own lines. Which are written is for Envoy
// to decide, at its /logging; all that come are passed on.
const componentEnvoy = "envoy"

func newEnvoy(s Settings, a surroundings, dial func(context.Context) (grpc.ClientConnInterface, error)) (DataPlane, error) {
	program, err := s.envoyProgram()
	if err != nil {
		return nil, err
	}
	p := stock{}
	dir := s.EnvoyDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "meshproxy-"); err != nil {
			return nil, fmt.Errorf("make Envoy's folder: %w", err)
		}
		p.temporary = dir
	}
	log := a.log.With("component", componentEnvoy)
	if err := a.levels.Set(componentEnvoy, slog.LevelDebug-4); err != nil {
		return nil, err
	}
	p.Plane, err = envoy.New(envoy.Options{
		Program: program, Dir: dir, Node: a.node, Admin: s.AdminAddr, Concurrency: s.Concurrency, Mark: s.Mark, DrainTime: s.ListenerDrain,
		LogLevel: s.LogLevel, ComponentLevels: s.ComponentLevels, Stats: s.Stats,
		Dial: dial, Context: a.discovery.credentials, Names: a.names.Update, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// imageEnvoy is where images have the program; there is no PATH to rely on.
const imageEnvoy = "/usr/local/bin/envoy"

// envoyProgram is where the Envoy is: MESH_ENVOY, where images have it, or in PATH.
func (s Settings) envoyProgram() (string, error) {
	if s.EnvoyProgram != "" {
		return filepath.Abs(s.EnvoyProgram)
	}
	if _, err := os.Stat(imageEnvoy); err == nil {
		return imageEnvoy, nil
	}
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", fmt.Errorf("the data plane is to be an Envoy, and there is none at MESH_ENVOY, at %s, or in PATH; use an image that has it (meshproxy-envoy)", imageEnvoy)
	}
	return path, nil
}
