package resource

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// maxDuration is Envoy's own limit on most timers would be larger; a year is
// past anything meant, and keeps every sum of durations far from overflow.
const maxDuration = 366 * 24 * time.Hour

// zeroDurations are the fields where 0s has a meaning (no limit, disabled), as
// Istio's CRDs mark them; elsewhere 1ms is the least.
var zeroDurations = []protoreflect.FullName{
	"istio.networking.v1alpha3.ConnectionPoolSettings.TCPSettings.idle_timeout",
	"istio.networking.v1alpha3.TrafficPolicy.RetryBudget.budget_interval",
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie.ttl",
}

// durations checks every duration of a message, wherever it stands.
func (c *check) durations(path string, m proto.Message) {
	c.durationsIn(path, m.ProtoReflect())
}

func (c *check) durationsIn(path string, m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() == nil {
			return true
		}
		at := joinPath(path, fd.JSONName())
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				return true
			}
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				c.durationsIn(entry(at, k.String()), v.Message())
				return true
			})
		case fd.IsList():
			for i := range v.List().Len() {
				c.durationsIn(item(at, i), v.List().Get(i).Message())
			}
		case fd.Message().FullName() == "google.protobuf.Duration":
			if d, ok := v.Message().Interface().(*durationpb.Duration); ok {
				c.duration(at, d.AsDuration(), slices.Contains(zeroDurations, fd.FullName()))
			}
		case fd.Message().FullName() == "google.protobuf.Struct":
		default:
			c.durationsIn(at, v.Message())
		}
		return true
	})
}

func (c *check) duration(path string, d time.Duration, zero bool) {
	switch {
	case d == 0 && zero:
	case d == 0:
		c.errorf(path, "leave the field out to use no limit or the default", "a duration of 0s is not allowed: 1ms is the least")
	case d < time.Millisecond:
		c.errorf(path, `write "1ms" or more`, "%s is too short: 1ms is the least", d)
	case d > maxDuration:
		c.errorf(path, "", "%s is too long: a year is the most", d)
	}
}

func joinPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// percent checks a value of 0 to 100.
func (c *check) percent(path string, v float64) {
	if v < 0 || v > 100 {
		c.errorf(path, "", "%v is not a percentage: 0 to 100", v)
	}
}

// selector checks a workload selector.
func (c *check) selector(path string, s *typev1beta1.WorkloadSelector) {
	if s != nil {
		c.labels(path+".matchLabels", s.GetMatchLabels())
	}
}

// targets checks that a policy names its workloads in one way, and how.
func (c *check) targets(selector *typev1beta1.WorkloadSelector, ref *typev1beta1.PolicyTargetReference, refs []*typev1beta1.PolicyTargetReference) {
	c.exclusive("spec", map[string]bool{"selector": len(selector.GetMatchLabels()) > 0, "targetRef": ref != nil, "targetRefs": len(refs) > 0}, "selector", "targetRef", "targetRefs")
	c.selector("spec.selector", selector)
	if ref != nil {
		c.targetRef("spec.targetRef", ref)
	}
	if len(refs) > 16 {
		c.errorf("spec.targetRefs", "", "%d targets, at most 16 are allowed", len(refs))
	}
	for i, r := range refs {
		c.targetRef(item("spec.targetRefs", i), r)
	}
}

// targetKinds are what a policy can attach to.
var targetKinds = []Kind{KindKubeGateway, {GroupGatewayAPI, "GatewayClass"}, KindService, KindServiceEntry}

func (c *check) targetRef(path string, r *typev1beta1.PolicyTargetReference) {
	group := r.GetGroup()
	if group == "core" {
		group = ""
	}
	if k := (Kind{group, r.GetKind()}); !slices.Contains(targetKinds, k) {
		c.errorf(path+".kind", "name a Gateway or GatewayClass of "+GroupGatewayAPI+`, a Service (group "") or a ServiceEntry of `+GroupNetworking, "policies cannot target %s", quoted(k.String()))
	}
	if r.GetName() == "" {
		c.errorf(path+".name", "name the target", "the name is missing")
	} else {
		c.problem(path+".name", subdomainProblem(r.GetName()), "")
	}
	if ns := r.GetNamespace(); ns != "" && ns != c.obj.Namespace {
		c.errorf(path+".namespace", "put the policy into namespace "+ns, "a target in another namespace is not supported")
	}
}

// unique reports the first value that occurs twice among names.
func (c *check) unique(what string, seen map[string]string, name, path string) {
	if first, ok := seen[name]; ok {
		c.errorf(path, "rename or remove one of them", "the %s %s is used twice, first at %s", what, quoted(name), first)
		return
	}
	place := path
	if p := c.at(path); !p.IsZero() {
		place = fmt.Sprintf("line %d", p.Line)
	}
	seen[name] = place
}
