// Package network is the seam of a local mesh: what its pods are connected by.
// There are two: namespaces, in which everything is captured (package
// namespaced), and the machine's own loopback with explicit proxies, where
// namespaces are forbidden (package explicit). Above this seam nobody asks which.
package network

import (
	"context"
	"net"
	"net/netip"
	"os"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/local/vip"
)

// Mode names a network, as flags and status do.
type Mode string

// Modes.
const (
	Namespaces Mode = "namespaces"
	Explicit   Mode = "explicit"
)

// Network connects the pods of a mesh. Its methods may be called from several
// goroutines.
type Network interface {
	Mode() Mode
	// Gateway is the node's own address: control plane and name server.
	Gateway() netip.Addr
	// Services are the virtual addresses.
	Services() netip.Prefix
	// PodAddress is the n-th address that a pod may have; false when there are no
	// more than n.
	PodAddress(n int) (netip.Addr, bool)
	// Serve starts what runs beside pods, until ctx ends, and gives the sockets of
	// the name server.
	Serve(ctx context.Context) (net.PacketConn, net.Listener, error)
	// Route makes the virtual addresses lead to the endpoints of these ports alone.
	Route(ports []vip.Port) error
	// PodPort is where others reach a pod's port; proxied: the pod has a proxy.
	PodPort(port int32, proxied bool) int32
	// Variables are what programs of a pod find in their environment beside what
	// their manifest says. services are those of the pod's namespace.
	Variables(ip netip.Addr, proxied bool, services []*corev1.Service) []string
	// ProxyVariables are what the pod's proxy finds in its, over what others say.
	ProxyVariables(ip netip.Addr) map[string]string
	// NewSandbox makes the surroundings of a pod.
	NewSandbox(c SandboxConfig) (Sandbox, error)
}

// SandboxConfig describes the surroundings of one pod.
type SandboxConfig struct {
	Name        string // "namespace/pod"
	UID         string // of this run of the pod
	Hostname    string
	IP          netip.Addr
	Dir         string // the pod's own directory
	HideDir     string // contains Dir, and the pod must not see the rest; may be ""
	Mounts      []node.Mount
	Programs    []string              // files that are started, also where Mounts hide them
	HostEntries map[string]netip.Addr // extra names
	Search      []string              // domains in which short names are looked up
	Capture     *capture.Config       // nil: nothing is redirected to a sidecar
}

// Sandbox is the surroundings of one pod.
type Sandbox interface {
	// Start starts a program in the pod, in a session of its own. The caller waits
	// for the process.
	Start(c node.Command) (*os.Process, error)
	// Dial connects from inside the pod to a literal address; 127.0.0.1 is the pod.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// Explain says in a sentence why a program of the pod could not listen on one
	// of these ports, or is not found on it; "" when there is nothing to say.
	Explain(ports []uint16) string
	// KillAll ends every process that is left in the pod.
	KillAll() error
	// Close frees what the pod had. End the processes first.
	Close()
}
