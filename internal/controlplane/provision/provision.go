package provision

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Names by which users and tools know us.
const (
	// LabelClass is the name of the Gateway's class.
	LabelClass = "gateway.networking.k8s.io/gateway-class-name"
	// LabelManaged marks what is made for a Gateway.
	LabelManaged = "gateway.istio.io/managed"
	// Managed objects have this value of it.
	managedValue = "istio.io-gateway-controller"
	// LabelDefaults on a ConfigMap of the root namespace: parameters of all Gateways of a class.
	LabelDefaults = "gateway.istio.io/defaults-for-class"

	annServiceType  = "networking.istio.io/service-type"
	annName         = "gateway.istio.io/name-override"
	annAccount      = "gateway.istio.io/service-account"
	annTopology     = "topology.istio.io/network"
	statusPort      = 15021
	statusPortName  = "status-port"
	maxName         = 63
	hashInName      = 8
	serviceTypeNone = "None"
)

// Inputs are all that the objects depend on besides the Gateway.
type Inputs struct {
	// Inject is what the mesh is. Its Namespace is the Gateway's.
	Inject inject.Inputs
	// Ports are those that ListenerSets add to the Gateway's own.
	Ports []Port
	// Parameters are laid over the objects, one after the other: of the class, of
	// the Gateway.
	Parameters []*corev1.ConfigMap
}

// Port is one that the gateway listens on.
type Port struct {
	Name     string // of the listener
	Number   int32
	Protocol gwv1.ProtocolType
}

// Object is one that is to be applied.
type Object struct {
	Resource schema.GroupVersionResource
	*unstructured.Unstructured
}

// Resources are the kinds of object that are made, each with what the gateway
// needs it for.
func Resources() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{accounts, deployments, services, autoscalers, budgets}
}

var (
	accounts    = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	services    = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	autoscalers = schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	budgets     = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
)

// Selector selects what is made for Gateways.
func Selector() string { return LabelManaged + "=" + managedValue }

// Managed reports whether a workload is made for a Gateway. One that names the
// Service of a workload that is there already (an address of type Hostname) is
// served by what somebody else deployed.
func Managed(gw *gwv1.Gateway) bool {
	return !slices.ContainsFunc(gw.Spec.Addresses, func(a gwv1.GatewaySpecAddress) bool {
		return a.Type != nil && *a.Type != gwv1.IPAddressType
	})
}

// Name is what the Deployment and the Service of a Gateway are called:
// GATEWAY-CLASS, unless an annotation says otherwise.
func Name(gw *gwv1.Gateway) string {
	if n := gw.Annotations[annName]; n != "" {
		return n
	}
	name := gw.Name + "-" + string(gw.Spec.GatewayClassName)
	if len(name) <= maxName && !strings.Contains(name, ".") {
		return name
	}
	// A Service's name is one label of DNS. The hash keeps two long names apart.
	sum := sha256.Sum256([]byte(name))
	short := strings.ReplaceAll(name, ".", "-")
	short = strings.TrimRight(short[:min(len(short), maxName-hashInName-1)], "-")
	return short + "-" + hex.EncodeToString(sum[:])[:hashInName]
}

// account is the identity of the gateway's pods.
func account(gw *gwv1.Gateway) (name string, ours bool) {
	if n := gw.Annotations[annAccount]; n != "" {
		return n, false
	}
	return Name(gw), true
}

// Objects are what serves a Gateway.
func Objects(gw *gwv1.Gateway, in Inputs) ([]Object, error) {
	over, err := overlays(in.Parameters)
	if err != nil {
		return nil, err
	}
	pod, err := pod(gw, in)
	if err != nil {
		return nil, err
	}
	b := builder{gw: gw, name: Name(gw), ports: ports(gw, in.Ports), over: over}
	if name, ours := account(gw); ours {
		b.account(name)
	}
	b.deployment(pod)
	if gw.Annotations[annServiceType] != serviceTypeNone {
		b.service()
	}
	b.autoscaler()
	b.budget()
	return b.out, b.err
}

// ports are all distinct ports, by number; the first name counts.
func ports(gw *gwv1.Gateway, more []Port) []Port {
	all := make([]Port, 0, len(gw.Spec.Listeners)+len(more))
	for _, l := range gw.Spec.Listeners {
		all = append(all, Port{string(l.Name), l.Port, l.Protocol})
	}
	all = append(all, more...)
	all = slices.DeleteFunc(all, func(p Port) bool { return p.Number == statusPort || p.Protocol == gwv1.UDPProtocolType })
	slices.SortStableFunc(all, func(a, b Port) int { return cmp.Compare(a.Number, b.Number) })
	all = slices.CompactFunc(all, func(a, b Port) bool { return a.Number == b.Number })
	names := map[string]bool{statusPortName: true}
	for i, p := range all {
		if len(validation.IsDNS1123Label(p.Name)) > 0 || names[p.Name] {
			all[i].Name = fmt.Sprintf("%s-%d", strings.ToLower(plainName(p.Protocol)), p.Number)
		}
		names[all[i].Name] = true
	}
	return all
}

// plainName is a protocol without the domain of whoever defined it.
func plainName(p gwv1.ProtocolType) string {
	_, name, found := strings.Cut(string(p), "/")
	if !found {
		return string(p)
	}
	if len(validation.IsDNS1123Label(strings.ToLower(name))) > 0 || len(name) > 15 {
		return "port"
	}
	return name
}

// labels of everything that is made for a Gateway.
func labels(gw *gwv1.Gateway) map[string]string {
	out := map[string]string{}
	if i := gw.Spec.Infrastructure; i != nil {
		for k, v := range i.Labels {
			out[string(k)] = string(v)
		}
	}
	maps.Copy(out, map[string]string{
		mesh.LabelGatewayName: gw.Name, LabelClass: string(gw.Spec.GatewayClassName), LabelManaged: managedValue,
	})
	return out
}

// annotations are those that the Gateway asks for.
func annotations(gw *gwv1.Gateway) map[string]string {
	out := map[string]string{}
	if i := gw.Spec.Infrastructure; i != nil {
		for k, v := range i.Annotations {
			out[string(k)] = string(v)
		}
	}
	return out
}
