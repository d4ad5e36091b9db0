package gatewayapi

import (
	"reflect"

	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// Names under which the mesh takes part in the Gateway API, which are Istio's.
const (
	// ControllerName is the controller of classes that the mesh serves; it signs the
	// conditions of routes and policies too.
	ControllerName gwv1.GatewayController = "istio.io/gateway-controller"
	// ClassName is the class that is served even when no GatewayClass says so, as in
	// a mesh that is read from files.
	ClassName = "istio"
)

// Status is the status that an object should have. Exactly one of the pointers is
// set, according to the kind. Conditions carry the generation that was looked at,
// and no lastTransitionTime: that is of whoever writes. Parents and Ancestors are
// those of ControllerName only; what other controllers wrote beside them must be
// kept. Read-only.
type Status struct {
	Key         resource.Key
	Class       *gwv1.GatewayClassStatus
	Gateway     *gwv1.GatewayStatus
	ListenerSet *gwv1.ListenerSetStatus
	Route       *gwv1.RouteStatus  // HTTPRoute, GRPCRoute, TLSRoute, TCPRoute
	Policy      *gwv1.PolicyStatus // BackendTLSPolicy
	Ingress     *netv1.IngressStatus
}

// CollectionKey makes statuses usable in collections; it is the object's key.
func (s *Status) CollectionKey() string { return s.Key.String() }

// Equal compares everything.
func (s *Status) Equal(t *Status) bool { return s == t || reflect.DeepEqual(s, t) }

// Deployed is what runs for a Gateway, as whoever deploys it sees it. Without it,
// a Gateway whose pods are to be made automatically is not programmed yet.
type Deployed struct {
	Namespace, Name string // of the Gateway
	// Addresses are those of its Service; without any, none is assigned yet.
	Addresses []gwv1.GatewayStatusAddress
	// Ready: the Service is there and at least one pod is available.
	Ready bool
	// Message says what is waited for, or why it cannot be deployed, when not Ready.
	Message string
}

// CollectionKey makes deployments usable in collections: namespace/name.
func (d *Deployed) CollectionKey() string { return d.Namespace + "/" + d.Name }

// Equal compares everything.
func (d *Deployed) Equal(e *Deployed) bool { return d == e || reflect.DeepEqual(d, e) }

// condition makes a condition; it is true when ok.
func condition[T, R ~string](kind T, ok bool, reason R, message string, generation int64) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: string(kind), Status: status, Reason: string(reason), Message: message, ObservedGeneration: generation}
}
