package inspect

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// partOf finds which rule a part of an effective traffic policy was written in, and
// where: mesh.DestinationPolicy shares its parts with the rules, so that the part
// itself tells. A part of none gives the zero Origin.
func partOf(rules []*mesh.DestinationRule, p proto.Message) (origin mesh.Origin, field string) {
	for _, r := range rules {
		if f := partIn(r.Spec.GetTrafficPolicy(), p); f != "" {
			return r.Origin, "spec.trafficPolicy." + f
		}
		for i, s := range r.Spec.GetSubsets() {
			if f := partIn(s.GetTrafficPolicy(), p); f != "" {
				return r.Origin, fmt.Sprintf("spec.subsets[%d].trafficPolicy.%s", i, f)
			}
		}
	}
	return mesh.Origin{}, ""
}

func partIn(t *networking.TrafficPolicy, p proto.Message) string {
	if t == nil {
		return ""
	}
	for _, part := range parts(t) {
		if part.is(p) {
			return part.name
		}
	}
	for i, pl := range t.GetPortLevelSettings() {
		at := &networking.TrafficPolicy{LoadBalancer: pl.LoadBalancer, ConnectionPool: pl.ConnectionPool, OutlierDetection: pl.OutlierDetection, Tls: pl.Tls}
		for _, part := range parts(at) {
			if part.is(p) {
				return fmt.Sprintf("portLevelSettings[%d].%s", i, part.name)
			}
		}
	}
	return ""
}

// policyPart is one part of a traffic policy.
type policyPart struct {
	name string
	m    proto.Message
}

func (p policyPart) is(q proto.Message) bool { return p.m == q }

// parts are those that are set.
func parts(t *networking.TrafficPolicy) []policyPart {
	var out []policyPart
	if t.LoadBalancer != nil {
		out = append(out, policyPart{"loadBalancer", t.LoadBalancer})
	}
	if t.ConnectionPool != nil {
		out = append(out, policyPart{"connectionPool", t.ConnectionPool})
	}
	if t.OutlierDetection != nil {
		out = append(out, policyPart{"outlierDetection", t.OutlierDetection})
	}
	if t.Tls != nil {
		out = append(out, policyPart{"tls", t.Tls})
	}
	if t.Tunnel != nil {
		out = append(out, policyPart{"tunnel", t.Tunnel})
	}
	if t.ProxyProtocol != nil {
		out = append(out, policyPart{"proxyProtocol", t.ProxyProtocol})
	}
	if t.RetryBudget != nil {
		out = append(out, policyPart{"retryBudget", t.RetryBudget})
	}
	return out
}
