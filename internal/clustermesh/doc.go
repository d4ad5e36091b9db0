// Package clustermesh looks at a mesh that runs on a Kubernetes cluster: its
// objects and pods, its control plane's processes, and the ports of its proxies,
// through the API server and with the rights of whoever asks. Nothing is changed.
// It answers the questions that package local and localmesh/meshapi answer of a
// mesh on one machine, in the same types.
//
//	m := clustermesh.New(client, clustermesh.Options{Namespace: "istio-system"})
//	pods, err := m.Pods(ctx)
//	conn, err := m.Dial(ctx, "default/web-1", "127.0.0.1:15000")
package clustermesh

import (
	"github.com/meshctl/meshctl/internal/kube"
)

// Options of a Mesh.
type Options struct {
	Namespace string // of the control plane; default istio-system
	// Within is the namespace to look at where the whole cluster may not be; "" for none.
	Within string
	// Revision is the control plane that is meant, with its objects; "" is every one.
	Revision string
}

// DefaultRevision is the name of the revision that has none.
const DefaultRevision = "default"

// Mesh is a mesh on a cluster. It is used by many goroutines at once, and needs no
// closing.
type Mesh struct {
	client *kube.Client
	opts   Options
}

// New makes a Mesh. It does not talk to the cluster.
func New(c *kube.Client, o Options) *Mesh {
	if o.Namespace == "" {
		o.Namespace = "istio-system"
	}
	return &Mesh{client: c, opts: o}
}

// Client is the cluster itself.
func (m *Mesh) Client() *kube.Client { return m.client }

// Namespace is that of the control plane.
func (m *Mesh) Namespace() string { return m.opts.Namespace }
