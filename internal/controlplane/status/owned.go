package status

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/resource"
)

// Owned is what of the status of an object of the Gateway API, or of an Ingress,
// is the mesh's, without times. Others may have written more beside it.
type Owned struct {
	UID  string // of the object: one of the same name that comes later has been told nothing
	JSON string // "" for nothing
}

// Equal implements Value.
func (o Owned) Equal(p Owned) bool { return o == p }

// After implements Value: times are those of what is found when it is written.
func (o Owned) After(Owned, time.Time) Owned { return o }

// Rest implements Value.
func (o Owned) Rest() Owned { return Owned{UID: o.UID} }

// OwnedOf is what is to be written for a desired status.
func OwnedOf(uid string, s *gatewayapi.Status) (Owned, error) {
	var content any
	switch {
	case s.Class != nil:
		content = s.Class
	case s.Gateway != nil:
		content = s.Gateway
	case s.ListenerSet != nil:
		content = s.ListenerSet
	case s.Route != nil:
		content = s.Route
	case s.Policy != nil:
		content = s.Policy
	case s.Ingress != nil:
		content = s.Ingress
	default:
		return Owned{}, fmt.Errorf("the status of %s says nothing", s.Key)
	}
	b, err := json.Marshal(content)
	if err != nil {
		return Owned{}, fmt.Errorf("the status of %s: %w", s.Key, err)
	}
	return Owned{UID: uid, JSON: string(b)}, nil
}

// shape is the status of one kind.
type shape interface {
	// conditions visits every list of conditions that is ours.
	conditions(visit func(at string, list *[]metav1.Condition))
	// ours leaves what is the mesh's, and reports whether there is anything.
	ours() bool
	// keep adds what others wrote in the status that was found.
	keep(found shape)
}

func shapeOf(k resource.Kind) (shape, bool) {
	switch k {
	case resource.KindGatewayClass:
		return &class{}, true
	case resource.KindKubeGateway:
		return &gateway{}, true
	case resource.KindListenerSet:
		return &listenerSet{}, true
	case resource.KindHTTPRoute, resource.KindGRPCRoute, resource.KindTCPRoute, resource.KindTLSRoute:
		return &route{}, true
	case resource.KindBackendTLSPolicy:
		return &policy{}, true
	case resource.KindIngress:
		return &ingress{}, true
	default:
		return nil, false
	}
}

// OwnedKind reports whether objects of a kind have such a status.
func OwnedKind(k resource.Kind) bool {
	_, ok := shapeOf(k)
	return ok
}

// ReadOwned finds what is ours in the status of an object, as JSON.
func ReadOwned(k resource.Kind, uid string, found []byte) (Owned, bool) {
	s, ok := shapeOf(k)
	if !ok || json.Unmarshal(found, s) != nil || !s.ours() {
		return Owned{}, false
	}
	s.conditions(func(_ string, list *[]metav1.Condition) {
		for i := range *list {
			(*list)[i].LastTransitionTime = metav1.Time{}
		}
	})
	b, err := json.Marshal(s)
	return Owned{UID: uid, JSON: string(b)}, err == nil
}

// Merge is the status to write, as a merge patch: ours, dated, what others wrote in
// the one that was found, and null for fields that are no more. ok is false when
// there is nothing to write.
func (o Owned) Merge(k resource.Kind, found []byte, now time.Time) (out []byte, ok bool, err error) {
	was, known := shapeOf(k)
	is, _ := shapeOf(k)
	if !known {
		return nil, false, fmt.Errorf("no status of %s is known", k)
	}
	if len(found) > 0 {
		if err := json.Unmarshal(found, was); err != nil {
			was, _ = shapeOf(k) // somebody wrote what is none; it is replaced
		}
	}
	if o.JSON != "" {
		if err := json.Unmarshal([]byte(o.JSON), is); err != nil {
			return nil, false, fmt.Errorf("read the status of %s: %w", k, err)
		}
	} else if !takesBack(is) {
		return nil, false, nil
	}
	before := map[string]metav1.Condition{}
	was.conditions(func(at string, list *[]metav1.Condition) {
		for _, c := range *list {
			before[at+" "+c.Type] = c
		}
	})
	is.conditions(func(at string, list *[]metav1.Condition) {
		for i := range *list {
			c := &(*list)[i]
			c.LastTransitionTime = metav1.Time{Time: now.UTC().Truncate(time.Second)}
			if b, ok := before[at+" "+c.Type]; ok && b.Status == c.Status && !b.LastTransitionTime.IsZero() {
				c.LastTransitionTime = b.LastTransitionTime
			}
		}
	})
	is.keep(was)
	old, err := fields(was)
	if err != nil {
		return nil, false, err
	}
	patch, err := fields(is)
	if err != nil {
		return nil, false, err
	}
	takeOut(patch, old)
	out, err = json.Marshal(patch)
	return out, err == nil, err
}

// fields is a status as JSON has it.
func fields(s shape) (map[string]any, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write a status: %w", err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("write a status: %w", err)
	}
	return out, nil
}

// takeOut puts null into a merge patch for what was there and is no more: left out it
// would stay.
func takeOut(patch, was map[string]any) {
	for k, v := range was {
		is, there := patch[k]
		if !there {
			patch[k] = nil
			continue
		}
		if a, ok := v.(map[string]any); ok {
			if b, ok := is.(map[string]any); ok {
				takeOut(b, a)
			}
		}
	}
}

// takesBack reports whether entries of ours can be told from others', so that they
// can be removed from an object that is not ours any more.
func takesBack(s shape) bool {
	switch s.(type) {
	case *route, *policy:
		return true
	default:
		return false
	}
}

// foreign are the conditions of others: theirs have a domain in their type.
func foreign(list []metav1.Condition) []metav1.Condition {
	var out []metav1.Condition
	for _, c := range list {
		if strings.Contains(c.Type, "/") {
			out = append(out, c)
		}
	}
	return out
}

func mine(list []metav1.Condition) []metav1.Condition {
	var out []metav1.Condition
	for _, c := range list {
		if !strings.Contains(c.Type, "/") {
			out = append(out, c)
		}
	}
	return out
}

type class struct{ gwv1.GatewayClassStatus }

func (s *class) conditions(visit func(string, *[]metav1.Condition)) { visit("", &s.Conditions) }
func (s *class) ours() bool {
	s.Conditions = mine(s.Conditions)
	return len(s.Conditions) > 0
}

func (s *class) keep(found shape) {
	if f, ok := found.(*class); ok {
		s.Conditions = append(s.Conditions, foreign(f.Conditions)...)
	}
}

type gateway struct{ gwv1.GatewayStatus }

func (s *gateway) conditions(visit func(string, *[]metav1.Condition)) {
	visit("", &s.Conditions)
	for i := range s.Listeners {
		visit("listener "+string(s.Listeners[i].Name), &s.Listeners[i].Conditions)
	}
}

func (s *gateway) ours() bool {
	s.Conditions = mine(s.Conditions)
	return len(s.Conditions) > 0
}

func (s *gateway) keep(found shape) {
	if f, ok := found.(*gateway); ok {
		s.Conditions = append(s.Conditions, foreign(f.Conditions)...)
	}
}

type listenerSet struct{ gwv1.ListenerSetStatus }

func (s *listenerSet) conditions(visit func(string, *[]metav1.Condition)) {
	visit("", &s.Conditions)
	for i := range s.Listeners {
		visit("listener "+string(s.Listeners[i].Name), &s.Listeners[i].Conditions)
	}
}

func (s *listenerSet) ours() bool {
	s.Conditions = mine(s.Conditions)
	return len(s.Conditions) > 0
}

func (s *listenerSet) keep(found shape) {
	if f, ok := found.(*listenerSet); ok {
		s.Conditions = append(s.Conditions, foreign(f.Conditions)...)
	}
}

type route struct{ gwv1.RouteStatus }

// parent names a parent for comparing.
func parent(p gwv1.ParentReference) string {
	b, err := json.Marshal(p)
	if err != nil {
		return "" // text and numbers always encode
	}
	return string(b)
}

func (s *route) conditions(visit func(string, *[]metav1.Condition)) {
	for i := range s.Parents {
		if s.Parents[i].ControllerName == gatewayapi.ControllerName {
			visit(parent(s.Parents[i].ParentRef), &s.Parents[i].Conditions)
		}
	}
}

func (s *route) ours() bool {
	var out []gwv1.RouteParentStatus
	for _, p := range s.Parents {
		if p.ControllerName == gatewayapi.ControllerName {
			out = append(out, p)
		}
	}
	s.Parents = out
	return len(out) > 0
}

func (s *route) keep(found shape) {
	if s.Parents == nil {
		s.Parents = []gwv1.RouteParentStatus{}
	}
	if f, ok := found.(*route); ok {
		for _, p := range f.Parents {
			if p.ControllerName != gatewayapi.ControllerName {
				s.Parents = append(s.Parents, p)
			}
		}
	}
}

type policy struct{ gwv1.PolicyStatus }

// maxAncestors is what the API takes.
const maxAncestors = 16

func (s *policy) conditions(visit func(string, *[]metav1.Condition)) {
	for i := range s.Ancestors {
		if s.Ancestors[i].ControllerName == gatewayapi.ControllerName {
			visit(parent(s.Ancestors[i].AncestorRef), &s.Ancestors[i].Conditions)
		}
	}
}

func (s *policy) ours() bool {
	var out []gwv1.PolicyAncestorStatus
	for _, p := range s.Ancestors {
		if p.ControllerName == gatewayapi.ControllerName {
			out = append(out, p)
		}
	}
	s.Ancestors = out
	return len(out) > 0
}

func (s *policy) keep(found shape) {
	own := s.Ancestors
	s.Ancestors = []gwv1.PolicyAncestorStatus{}
	if f, ok := found.(*policy); ok {
		for _, p := range f.Ancestors {
			if p.ControllerName != gatewayapi.ControllerName {
				s.Ancestors = append(s.Ancestors, p)
			}
		}
	}
	s.Ancestors = append(s.Ancestors, own[:min(len(own), max(maxAncestors-len(s.Ancestors), 0))]...)
}

type ingress struct{ netv1.IngressStatus }

func (s *ingress) conditions(func(string, *[]metav1.Condition)) {}
func (s *ingress) ours() bool                                   { return len(s.LoadBalancer.Ingress) > 0 }
func (s *ingress) keep(shape)                                   {}
