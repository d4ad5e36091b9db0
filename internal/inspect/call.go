package inspect

import (
	"strconv"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/whatif"
)

// call is what DestinationRules say of the calls of some clients to a service: the one
// place where describe, effective and troubleshoot ask them.
type call struct {
	in      *Inspector
	service *mesh.Service
	rules   []*mesh.DestinationRule // those that count, the deciding one first
	policy  *mesh.DestinationPolicy // of all of them
}

func (in *Inspector) call(s *mesh.Service, client mesh.Client) call {
	rules := mesh.FindDestinationRules(in.w.Mesh().DestinationRules.List(), s.Host, client, s.Namespace, in.w.Config().GetRootNamespace())
	return call{in, s, rules, mesh.MergeDestinationRules(rules)}
}

// endpoints is the number of addresses that answer for a subset ("": for the whole
// host), and what is wrong with it; no number where DNS is asked.
func (c call) endpoints(subset string) (number, wrong string) {
	if c.service.Resolution != mesh.ResolveStatic {
		return "", ""
	}
	var of map[string]string
	if subset != "" {
		sub, ok := c.policy.Subset(subset)
		if !ok {
			return "", "no DestinationRule defines subset " + subset + ": requests get 503"
		}
		of = sub.Labels
	}
	seen := map[string]bool{}
	if set, _ := c.in.w.Mesh().Endpoints.Get(c.service.CollectionKey()); set != nil {
		for _, e := range set.Endpoints {
			if e.Selected(of) {
				seen[e.Address] = true
			}
		}
	}
	if len(seen) == 0 {
		return "0", "no endpoint is ready: requests get 503"
	}
	return strconv.Itoa(len(seen)), ""
}

// tls is the mode of calls to a port, and the rule that says so; nil when none does.
func (c call) tls(port uint32, subset string) (networking.ClientTLSSettings_TLSmode, *whatif.Decision) {
	t := c.policy.Policy(port, subset).GetTls()
	if t == nil {
		return 0, nil
	}
	return t.GetMode(), c.in.w.At(c.written(t))
}

// written finds where a part of the policy was written: mesh.DestinationPolicy shares its
// parts with the rules, so that the part itself tells. A part of none gives the zero Origin.
func (c call) written(p proto.Message) (mesh.Origin, string) { return partOf(c.rules, p) }
