package local

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
	"os/signal"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/control"
	"github.com/meshctl/meshctl/internal/local/explicit"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/namespaced"
	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/local/process"
	"github.com/meshctl/meshctl/internal/local/runtime"
	"github.com/meshctl/meshctl/internal/resource"
)

// hello is what the host tells the node first.
type hello struct {
	PID      int      `json:"pid"`
	Settings Settings `json:"settings"`
}

// nodeName is the name of the only node there is.
const nodeName = "local"

// stopPatience is how long an orderly end may take.
const stopPatience = 60 * time.Second

// NodeEnv is what the Node hook works with.
type NodeEnv struct {
	Settings Settings
	Log      *slog.Logger
	// Gateway is the node's own address, which every pod reaches: the control
	// plane listens on it.
	Gateway netip.Addr
	// Shared: others than the mesh's own processes reach what listens on loopback.
	Shared bool
	// StateDir may hold files of the hook's own; it goes when the mesh ends.
	StateDir string

	runtime *runtime.Runtime
	control *control.Server
	bridge  *bridge.Node
	file    *image.File
}

// Use gives the runtime its control plane, once; pods start after that.
func (e *NodeEnv) Use(cp runtime.ControlPlane) error { return e.runtime.Use(cp) }

// SetObjects says everything that should run; see runtime.SetObjects.
func (e *NodeEnv) SetObjects(objects []*resource.Object) { e.runtime.SetObjects(objects) }

// Handle adds an endpoint to the control API.
func (e *NodeEnv) Handle(pattern string, h http.Handler) { e.control.Handle(pattern, h) }

// Event tells `up` and `events` what happened.
func (e *NodeEnv) Event(warning bool, kind, object, message string) {
	e.runtime.Event(warning, kind, object, message)
}

// ImageFile is the folder's meshctl-local.yaml, empty when there is none.
func (e *NodeEnv) ImageFile() *image.File { return e.file }

// DialOutside connects to a TCP address on the host's network; the node itself
// has no way there.
func (e *NodeEnv) DialOutside(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	return e.bridge.DialOutside(ctx, address)
}

// ExchangeDNS asks the host's name servers.
func (e *NodeEnv) ExchangeDNS(ctx context.Context, question []byte) ([]byte, error) {
	return e.bridge.ExchangeDNS(ctx, question)
}

// runNode is the node: process 1 in its namespaces.
func runNode(p Paths, hooks Hooks) error {
	link, err := bridge.Open(os.NewFile(3, "bridge"))
	if err != nil {
		return err
	}
	var h hello
	if err := bridge.ReceiveHello(link, &h); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	n := &nodeProcess{paths: p, hello: h, hooks: hooks, log: newLogger(h.Settings, "node")}
	n.bridge = bridge.NewNode(link, func(ctx context.Context, id string, conn net.Conn) { n.runtime.Accept(ctx, id, conn) }, n.log.With("component", "bridge"))
	return n.run()
}

type nodeProcess struct {
	paths   Paths
	hello   hello
	hooks   Hooks
	log     *slog.Logger
	bridge  *bridge.Node
	runtime *runtime.Runtime
}

// run sets the node up and waits for a reason to end.
func (n *nodeProcess) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pods, setUp := n.network(ctx)
	go process.ReapOrphans(ctx)
	// The bridge from here on: failures are told over it, and its end is ours.
	ended := make(chan error, 4)
	go func() { ended <- n.bridge.Run(ctx) }()
	if setUp != nil {
		n.fail(ctx, setUp)
		return setUp
	}
	mapping := n.mapping()
	n.runtime = runtime.New(runtime.Options{
		Name: n.hello.Settings.Name, Dir: n.paths.Dir, Domain: n.hello.Settings.Domain, NodeName: nodeName,
		Network: pods, HostEnv: os.Environ(), Bridge: n.bridge,
		Publish: n.hello.Settings.Publish, Outside: !n.hello.Settings.Closed, Settle: n.hello.Settings.Settle,
		Log: n.log.With("component", "runtime"),
	})
	n.runtime.SetImages(mapping.resolver, mapping.findings)
	go n.followMapping(ctx, mapping)
	stop := make(chan struct{}, 1)
	server := control.New(statusWithHost{n.runtime, n.hello}, func() {
		select {
		case stop <- struct{}{}:
		default:
		}
	}, n.log.With("component", "control"))
	socket, err := control.Listen(n.paths.Socket())
	if err != nil {
		n.fail(ctx, err)
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() { ended <- server.Serve(ctx, socket) }()
	go func() { ended <- n.runtime.Run(ctx) }()
	if _, err := n.bridge.Call(ctx, callStarted, nil); err != nil {
		return err
	}
	go n.runHook(ctx, ended, &NodeEnv{
		Settings: n.hello.Settings, Log: n.log, Gateway: pods.Gateway(), Shared: pods.Mode() == network.Explicit, StateDir: n.paths.Dir,
		runtime: n.runtime, control: server, bridge: n.bridge, file: mapping.file,
	})
	select {
	case <-signals:
	case <-stop:
	case err := <-ended:
		if errors.Is(err, bridge.ErrGone) {
			// The host-side process is gone. In namespaces the kernel ends the rest with us.
			cancel()
			return n.sweep(pods)
		}
		n.log.Error("mesh ends", "err", err)
		return errors.Join(err, n.stop(pods))
	}
	return n.stop(pods)
}

// network is what connects the pods.
func (n *nodeProcess) network(ctx context.Context) (network.Network, error) {
	if n.hello.Settings.Network == network.Explicit {
		if err := explicit.Guard(); err != nil {
			return nil, fmt.Errorf("take in orphans: %w", err)
		}
		return explicit.Open(ctx, n.paths.Dir, n.log.With("component", "network"))
	}
	plan := node.DefaultNetwork()
	if err := node.Setup(plan, n.hello.Settings.Name); err != nil {
		return nil, node.Explain(err, "/")
	}
	var egress func(context.Context, net.Listener)
	if !n.hello.Settings.Closed {
		egress = n.bridge.ServeEgress
	}
	return namespaced.New(plan, egress), nil
}

// sweep ends what would outlive us without namespaces.
func (n *nodeProcess) sweep(pods network.Network) error {
	if pods.Mode() != network.Explicit {
		return nil
	}
	if left := explicit.SweepBelow(n.paths.Dir); len(left) > 0 {
		return fmt.Errorf("processes %v do not end", left)
	}
	return nil
}

// runHook runs the caller's part; its error ends the mesh.
func (n *nodeProcess) runHook(ctx context.Context, ended chan<- error, env *NodeEnv) {
	if n.hooks.Node == nil {
		ended <- errors.New("this program has no node hook")
		return
	}
	if err := n.hooks.Node(ctx, env); err != nil && ctx.Err() == nil {
		n.runtime.Event(true, "ControlPlaneFailed", "", err.Error())
		ended <- fmt.Errorf("run control plane: %w", err)
	}
}

func (n *nodeProcess) stop(pods network.Network) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return errors.Join(n.runtime.Stop(ctx), n.sweep(pods))
}

// fail tells the host why there is no mesh.
func (n *nodeProcess) fail(ctx context.Context, err error) {
	b, encodeErr := json.Marshal(reportOf(err))
	if encodeErr != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := n.bridge.Call(ctx, callFailed, b); err != nil {
		n.log.ErrorContext(ctx, "failure not reported", "err", err)
	}
}
