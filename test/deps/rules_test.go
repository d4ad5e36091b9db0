package deps

// rule is one line of the architecture. Patterns are import paths, those of
// this module without its prefix; a trailing /... stands for the package and
// all below it. A rule is stale, and the test fails, when a pattern in it
// matches nothing any more.
type rule struct {
	who    []string // the packages that the rule is for
	except []string // of those, the ones that it is not for
	// closure looks at everything that is linked in, not only at what the
	// packages import themselves.
	closure bool
	never   []string // what they may not import
	only    []string // what they may import besides the standard library; wants who's
	std     bool     // only the standard library
	why     string
}

const (
	anything  = "..." // every package of this module
	envoy     = "github.com/envoyproxy/go-control-plane/..."
	protobuf  = "google.golang.org/protobuf/..."
	grpc      = "google.golang.org/grpc/..."
	istioAPI  = "istio.io/api/..."
	kube      = "k8s.io/..."
	kubeToo   = "sigs.k8s.io/..."
	cobra     = "github.com/spf13/cobra"
	pflag     = "github.com/spf13/pflag"
	viper     = "github.com/spf13/viper"
	xxhash    = "github.com/cespare/xxhash/v2"
	sys       = "golang.org/x/sys/unix"
	rpcStatus = "google.golang.org/genproto/googleapis/rpc/status"
)

var rules = []rule{
	{
		who:   []string{"internal/proxy/...", "internal/agent/..."},
		never: []string{"internal/resource/...", "internal/mesh", "internal/controlplane/...", "internal/local/...", "internal/localmesh/...", "internal/cli/...", kube, kubeToo, cobra, viper},
		why:   "a sidecar knows xDS and nothing of what users write; it is in every pod, and stays small and replaceable by a stock Envoy",
	},
	{
		who: []string{"cmd/meshproxy"}, closure: true,
		never: []string{"internal/resource/...", "internal/mesh", "internal/controlplane/...", "internal/cli/...", kube, kubeToo, cobra, pflag, viper},
		why:   "the memory of every pod: what is linked in is paid for by each sidecar",
	},
	{
		who: []string{"cmd/meshd"}, closure: true,
		never: []string{"internal/proxy", "internal/proxy/engine", "internal/agent"},
		why:   "the control plane and the data plane meet only in the xDS protocol, or neither could be checked against another's",
	},
	{
		who: []string{"internal/collection", "internal/diag", "internal/plural", "internal/version"}, std: true,
		why: "everything is built on them, so they are built on nothing",
	},
	{
		who:  []string{"internal/mesh"},
		only: []string{"internal/diag", istioAPI, protobuf},
		why:  "rules of the domain are pure: no Kubernetes, no Envoy, no I/O (Istio's messages are the intermediate form, docs/adr/0001)",
	},
	{
		who:   []string{"internal/resource/..."},
		never: []string{"internal/mesh", "internal/controlplane/...", "internal/collection", "internal/proxy/...", envoy, cobra, viper},
		why:   "what users write is read and checked before anybody decides what it means",
	},
	{
		who: []string{anything}, except: []string{"internal/resource/source/kube/...", "internal/kube", "internal/clustermesh", "internal/install", "internal/meshd", "internal/cli/..."},
		never: []string{"k8s.io/client-go/..."},
		why:   "who talks to a cluster says so here: everything else works without one",
	},
	{
		who:   []string{"internal/controlplane/..."},
		never: []string{"internal/proxy/...", "internal/agent/...", "internal/local/...", "internal/localmesh/...", "internal/cli/...", cobra, viper},
		why:   "the control plane serves any proxy in any home",
	},
	{
		who:   []string{"internal/controlplane/..."},
		never: []string{"internal/analyze/..."},
		why:   "analysis judges what users wrote, also by what the control plane makes of it; who runs both hands its findings over",
	},
	{
		who:  []string{"internal/inject"},
		only: []string{"internal/capture", "internal/diag", "internal/resource", "k8s.io/api/...", "k8s.io/apimachinery/...", "sigs.k8s.io/yaml", istioAPI, protobuf},
		why:  "a pure function of a pod: the webhook and the command line ask the same one, and neither a cluster nor a socket is needed to test it",
	},
	{
		who:   []string{"internal/controlplane/derive"},
		never: []string{"internal/controlplane/view", "internal/controlplane/xdsgen", "internal/controlplane/xdsserve", envoy},
		why:   "what the mesh is does not depend on who looks at it or in which protocol it is told",
	},
	{
		who:  []string{"internal/controlplane/provision"},
		only: []string{"internal/inject", "internal/mesh", "internal/diag", "k8s.io/api/...", "k8s.io/apimachinery/...", "sigs.k8s.io/gateway-api/apis/v1", "sigs.k8s.io/yaml"},
		why:  "what runs for a Gateway is a pure function of it: who applies it is another matter",
	},
	{
		who:  []string{"internal/controlplane/gatewayapi"},
		only: []string{"internal/resource", "internal/mesh", istioAPI, protobuf, xxhash, "k8s.io/api/...", "k8s.io/apimachinery/...", "sigs.k8s.io/gateway-api/apis/v1"},
		why:  "what the Gateway API means is a pure function of objects: neither an engine nor an API server is needed to ask it",
	},
	{
		who:   []string{"internal/controlplane/xdsgen"},
		never: []string{"internal/controlplane/derive", "internal/controlplane/view", "internal/controlplane/xdsserve", "internal/resource/...", "internal/collection", kube},
		why:   "pure translation of domain values to Envoy's messages: runs without sources, engine or socket",
	},
	{
		who:  []string{"internal/controlplane/xdsserve"},
		only: []string{grpc, protobuf, "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3", "github.com/envoyproxy/go-control-plane/envoy/config/core/v3", "github.com/prometheus/client_golang/prometheus"},
		why:  "the server of the protocol carries bytes and knows nothing of Istio",
	},
	{
		who: []string{"internal/proxy/header", "internal/proxy/tlsconn/record", "internal/proxy/detect"}, std: true,
		why: "the lowest rooms of the proxy",
	},
	{
		who:  []string{"internal/proxy/tlsconn"},
		only: []string{"internal/proxy/tlsconn/record"},
		why:  "TLS is the standard library's, and one record layer",
	},
	{
		who:  []string{"internal/proxy/codec", "internal/proxy/snapshot", "internal/proxy/h2/hpack"},
		only: []string{"internal/proxy/header"},
		why:  "plain values shared by all workers; no protobuf outlives the compiler",
	},
	{
		who:  []string{"internal/proxy/h1", "internal/proxy/h2"},
		only: []string{"internal/proxy/codec", "internal/proxy/header", "internal/proxy/h2/hpack"},
		why:  "bytes in, events out: no I/O, no other room, so that every byte can be fuzzed",
	},
	{
		who:  []string{"internal/proxy/engine"},
		only: []string{"internal/proxy/netio", "internal/proxy/tlsconn", sys},
		why:  "the event loop knows nothing of HTTP or of configuration",
	},
	{
		who:  []string{"internal/proxy/xdsclient"},
		only: []string{"github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3", "github.com/envoyproxy/go-control-plane/envoy/config/core/v3", grpc, rpcStatus},
		why:  "the client holds raw bytes; what they mean is for the compiler",
	},
	{
		who:   []string{"internal/proxy/compile"},
		never: []string{"internal/proxy/engine", "internal/proxy/httpconn", "internal/proxy/listener", "internal/proxy/tcp", "internal/proxy/upstream", "internal/proxy/filter/...", "internal/proxy/route", "internal/proxy/xdsclient", grpc, sys},
		why:   "pure: messages in, snapshot or the reason against it out",
	},
	{
		who:    []string{"internal/proxy/..."},
		except: []string{"internal/proxy", "internal/proxy/compile", "internal/proxy/xdsclient", "internal/proxy/admin"},
		never:  []string{"github.com/envoyproxy/go-control-plane/envoy/config/...", "github.com/envoyproxy/go-control-plane/envoy/extensions/..."},
		why:    "Envoy's messages end at the compiler: traffic is served from flat snapshots",
	},
	{
		who:   []string{"internal/proxy/filter/..."},
		never: []string{"internal/proxy/httpconn", "internal/proxy/listener", "internal/proxy/upstream", "internal/proxy/h1", "internal/proxy/h2"},
		why:   "a filter sees the exchange, not who runs it",
	},
	{
		who:  []string{"internal/compare"},
		only: []string{"internal/controlplane/xdsserve", "internal/nametable", "github.com/envoyproxy/go-control-plane/envoy/config/core/v3", protobuf},
		why:  "what differs is found in what proxies are sent, whoever made it: no source, no derivation, no I/O",
	},
	{
		who:   []string{"internal/whatif", "internal/effect"},
		never: []string{"internal/meshd", "internal/localmesh", "internal/proxy/engine", "internal/proxy/httpconn", grpc},
		why:   "questions are answered from values: no mesh has to run for them",
	},
	{
		who:  []string{"internal/proxy/route"},
		only: []string{"internal/proxy/header", "internal/proxy/snapshot", xxhash},
		why:  "a request finds its route in compiled values alone, so that routes can be asked without a socket",
	},
	{
		who:   []string{"internal/local/..."},
		never: []string{"internal/controlplane/...", "internal/proxy/...", "internal/agent/...", "internal/cli/...", "internal/localmesh/...", cobra, viper},
		why:   "the machine runs pods; which control plane and which sidecar they have is said by internal/localmesh",
	},
	{
		who: []string{anything}, except: []string{"internal/cli/...", "internal/settings", "cmd/..."},
		never: []string{cobra, pflag, viper, "internal/cli/..."},
		why:   "flags and settings end in the command that reads them; others are given values",
	},
	{
		who: []string{anything}, except: []string{"internal/settings"},
		never: []string{viper},
		why:   "one place knows where a setting came from",
	},
	{
		who: []string{anything}, except: []string{"internal/testenv/...", "internal/local/localtest", "internal/proxy/codec/codectest", "internal/proxy/tlsconn/tlstest", "test/..."},
		never: []string{"testing", "internal/testenv/...", "internal/resource/source/kube/kubetest", "internal/local/localtest", "internal/proxy/codec/codectest", "internal/proxy/tlsconn/tlstest"},
		why:   "helpers of tests are not linked into programs",
	},
}

// siblings are folders whose packages never import each other: a rule that two
// of them need moves down to where both may look.
var siblings = []struct{ folder, why string }{
	{"internal/proxy/filter/", "a filter is understood by itself"},
}
