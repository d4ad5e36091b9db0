package meshd

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	meshv1 "istio.io/api/mesh/v1alpha1"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
	build "github.com/meshctl/meshctl/internal/version"
)

// valuesKey is where the ConfigMap of injection has the install values.
const valuesKey = "values"

// injection is what the webhook needs to know of the mesh, kept up to date by
// what passes on its way to the control plane. Values that cannot be read leave
// the last good ones in force; before the first good ones nothing is injected,
// since a pod keeps for its life what it is given.
type injection struct {
	next      source.Sink
	configMap resource.Key // with the install values
	revision  string
	native    bool // the cluster knows native sidecars
	log       *slog.Logger

	values atomic.Pointer[injectionValues] // nil until they have been read
	mu     sync.Mutex
	// proxyConfigs are replaced, never changed.
	proxyConfigs []inject.ProxyConfig
}

// injectionValues are those in force.
type injectionValues struct {
	inject.Values
	digest string // of the text that they were read from
}

func newInjection(o discoveryOptions, native bool, next source.Sink, log *slog.Logger) *injection {
	return &injection{
		next: next, revision: o.revision, native: native, log: log,
		configMap: resource.Key{Kind: resource.KindConfigMap, Namespace: o.namespace, Name: o.revisioned(injectorConfigMap)},
	}
}

// known is nil when pods can be injected.
func (in *injection) known() error {
	if in.values.Load() == nil {
		return fmt.Errorf("the values of injection have not been read yet (ConfigMap %s/%s)", in.configMap.Namespace, in.configMap.Name)
	}
	return nil
}

// gate answers 503 until pods can be injected: the API server then does what the
// webhook's failure policy says.
func (in *injection) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := in.known(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// page tells whoever installs which values are in force: those that were applied a
// moment ago may be on their way.
func (in *injection) page(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintln(w, in.values.Load().digest)
}

// Apply implements source.Sink.
func (in *injection) Apply(src string, set []*resource.Object, deleted []resource.Key) {
	for _, k := range deleted {
		in.remove(k)
	}
	for _, o := range set {
		in.put(o)
	}
	in.next.Apply(src, set, deleted)
}

// Report implements source.Sink.
func (in *injection) Report(src string, ds []diag.Diagnostic) { in.next.Report(src, ds) }

func (in *injection) put(o *resource.Object) {
	switch spec := o.Spec.(type) {
	case *corev1.ConfigMap:
		if o.Key != in.configMap {
			return
		}
		v, err := inject.ParseValues([]byte(spec.Data[valuesKey]), build.Get())
		if err != nil {
			effect := "those before stay in force"
			if in.known() != nil {
				effect = "nothing is injected until they are mended"
			}
			in.log.Error("the values of injection are broken", "effect", effect, "config_map", o.Key.Name, "err", err)
			return
		}
		in.values.Store(&injectionValues{v, inject.ValuesDigest(spec.Data[valuesKey])})
	case *networkingv1beta1.ProxyConfig:
		in.remove(o.Key)
		in.mu.Lock()
		defer in.mu.Unlock()
		in.proxyConfigs = append(slices.Clip(in.proxyConfigs), inject.ProxyConfig{Namespace: o.Key.Namespace, Name: o.Key.Name, Spec: spec})
		slices.SortFunc(in.proxyConfigs, func(a, b inject.ProxyConfig) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
}

func (in *injection) remove(k resource.Key) {
	switch k.Kind {
	case in.configMap.Kind:
		if k == in.configMap {
			in.log.Warn("the values of injection are gone; those before stay in force", "config_map", k.Name)
		}
	case resource.KindProxyConfig:
		in.mu.Lock()
		defer in.mu.Unlock()
		var rest []inject.ProxyConfig
		for _, c := range in.proxyConfigs {
			if c.Namespace != k.Namespace || c.Name != k.Name {
				rest = append(rest, c)
			}
		}
		in.proxyConfigs = rest
	default:
	}
}

// currentOf tells what the mesh is at the time of a request that has passed the
// gate; atStart is its mesh config until the control plane has one.
func (in *injection) currentOf(cp *controlplane.ControlPlane, atStart *meshv1.MeshConfig) func() inject.Inputs {
	return func() inject.Inputs {
		in.mu.Lock()
		configs := in.proxyConfigs
		in.mu.Unlock()
		out := inject.Inputs{
			Values: in.values.Load().Values, Revision: in.revision, ByDefault: in.revision == "default",
			NativeSidecars: in.native, ProxyConfigs: configs, Mesh: atStart,
		}
		if c, ok := cp.Mesh().Config.Get("mesh"); ok {
			out.Mesh = c.MeshConfig
		}
		return out
	}
}
