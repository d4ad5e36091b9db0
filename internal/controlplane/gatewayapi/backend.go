package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// translator makes the rules of one route.
type translator struct {
	world  World
	grants bool // references into other namespaces need one
	route  *Route
	rules  []Rule
	origin mesh.Origin
	fields mesh.Fields
}

// refuse notes what is not built, or is not good.
func (t *translator) refuse(field, code string, reason gwv1.RouteConditionReason, effect, fix, format string, args ...any) *Problem {
	p := &Problem{
		Problem: mesh.Problem{Field: field, Message: fmt.Sprintf(format, args...), Effect: effect, Fix: fix},
		Code:    code, Reason: string(reason),
	}
	t.route.Problems = append(t.route.Problems, p)
	return p
}

// destination resolves a reference to a backend; nil when it leads nowhere.
func (t *translator) destination(ref gwv1.BackendObjectReference, field, effect string) *networking.Destination {
	o := t.route.Object
	group, kind := string(deref(ref.Group, "")), string(deref(ref.Kind, "Service"))
	namespace, name := string(deref(ref.Namespace, gwv1.Namespace(o.Key.Namespace))), string(ref.Name)
	unresolved := func(code string, reason gwv1.RouteConditionReason, fix, format string, args ...any) {
		p := t.refuse(field, code, reason, effect, fix, format, args...)
		if t.route.Unresolved == nil {
			t.route.Unresolved = p
		}
	}
	to := target{group, kind, namespace, name}
	var host string
	switch {
	case group == "" && kind == "Service":
		host = serviceHost(t.world, namespace, name)
	case group == resource.GroupNetworking && kind == "Hostname":
		host = strings.ToLower(name) // any host of the mesh: granting is by exportTo
		to.namespace = o.Key.Namespace
	case group == resource.GroupNetworking && kind == "ServiceEntry":
		host = t.world.EntryHost(namespace, name)
	default:
		unresolved(codeUnsupported, gwv1.RouteReasonInvalidKind, "use a Service", "a backend of kind %s is not known", strings.TrimPrefix(group+"/"+kind, "/"))
		return nil
	}
	if t.grants && !granted(t.world, o, to) {
		unresolved(codeNotGranted, gwv1.RouteReasonRefNotPermitted, "add a ReferenceGrant there, or move the object", "%s", notGranted(o, to))
		return nil
	}
	var s *mesh.Service
	if host != "" {
		s = t.world.Service(host, o.Key.Namespace)
	}
	if s == nil {
		unresolved(codeDangling, gwv1.RouteReasonBackendNotFound, "create it, or correct the reference", "%s %s/%s does not exist", kind, namespace, name)
		return nil
	}
	if ref.Port == nil {
		unresolved(codeDangling, gwv1.RouteReasonUnsupportedValue, "name the port", "the reference to %s %s/%s has no port", kind, namespace, name)
		return nil
	}
	port := uint32(*ref.Port)
	p, ok := s.Port(port)
	if !ok {
		unresolved(codeDangling, gwv1.RouteReasonBackendNotFound, "use a port of the Service", "%s %s/%s has no port %d", kind, namespace, name, port)
		return nil
	}
	if p.Protocol == mesh.ProtocolUDP {
		unresolved(codeDangling, gwv1.RouteReasonUnsupportedProtocol, "use a port that carries TCP", "port %d of %s %s/%s is UDP", port, kind, namespace, name)
		return nil
	}
	return &networking.Destination{Host: host, Port: &networking.PortSelector{Number: port}}
}

// weightOf is the weight of a backend; 1 when none is written.
func weightOf(w *int32) int32 { return max(deref(w, 1), 0) }

// l4 makes the rule of a TCPRoute or TLSRoute.
func (t *translator) l4(i int, backends []gwv1.BackendRef) {
	field := fmt.Sprintf("spec.rules[%d]", i)
	r := Rule{Detail: mesh.RouteDetail{Origin: t.origin, Fields: t.fields, Field: field, Backends: field + ".backendRefs"}}
	for j, b := range backends {
		w := weightOf(b.Weight)
		if w == 0 {
			continue
		}
		d := t.destination(b.BackendObjectReference, fmt.Sprintf("%s.backendRefs[%d]", field, j), "its share of connections is closed")
		if d == nil {
			r.Detail.Unresolved += uint32(w)
			continue
		}
		r.L4 = append(r.L4, &networking.RouteDestination{Destination: d, Weight: w})
	}
	t.rules = append(t.rules, r)
}

// headers translates a filter that changes headers. Values are texts, so that no
// percent sign in them begins a command.
func headers(f *gwv1.HTTPHeaderFilter) *networking.Headers_HeaderOperations {
	if f == nil {
		return nil
	}
	out := &networking.Headers_HeaderOperations{}
	table := func(hs []gwv1.HTTPHeader) map[string]string {
		var m map[string]string
		for _, h := range hs {
			if m == nil {
				m = map[string]string{}
			}
			name := strings.ToLower(string(h.Name))
			if _, twice := m[name]; !twice {
				m[name] = strings.ReplaceAll(h.Value, "%", "%%")
			}
		}
		return m
	}
	out.Set, out.Add = table(f.Set), table(f.Add)
	for _, n := range f.Remove {
		out.Remove = append(out.Remove, strings.ToLower(n))
	}
	slices.Sort(out.Remove)
	return out
}
