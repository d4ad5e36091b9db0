package runtime

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/resource"
)

// Publisher takes what the runtime knows: Pods, Services and EndpointSlices, as
// a cluster's API would show them. Calls come one after another.
type Publisher interface {
	Publish(set []*resource.Object, deleted []resource.Key)
}

// Tokens issues tokens by which a pod's proxy shows its service account.
type Tokens interface {
	Issue(namespace, serviceAccount, pod string) (string, error)
}

// ControlPlane is what the runtime needs from the control plane. Without Tokens
// no proxy could show who it is, so pods run without sidecars.
type ControlPlane struct {
	Publisher   Publisher
	Tokens      Tokens
	Discovery   string // address for proxies, e.g. 10.244.0.1:15012
	RootCertPEM []byte // what proxies verify Discovery with
	TrustDomain string
	MeshID      string
	ClusterID   string         // "" means Kubernetes
	ProxyConfig map[string]any // the mesh's defaults, JSON form
	Proxy       image.Program  // started with "proxy sidecar|router …" behind its words
	// DataPlane is that of pods whose annotations choose none; "" is native.
	DataPlane inject.DataPlane
	// Envoy is the program of a stock Envoy; "": there is none.
	Envoy string
	// TokenLife is how long a token is valid; it is renewed after a third. 0: an hour.
	TokenLife time.Duration
	// ExcludeOutbound are destinations that never pass the sidecar.
	ExcludeOutbound []netip.Prefix
}

// Options are fixed for the runtime's life.
type Options struct {
	Name     string
	Dir      string // state directory
	Domain   string
	NodeName string
	Network  network.Network
	HostEnv  []string
	Bridge   *bridge.Node
	Publish  Publishing
	Outside  bool // pods may reach outside addresses
	Settle   time.Duration
	Log      *slog.Logger
}
