package analyze

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/resource"
)

// share is one destination of several, with its weight.
type share struct {
	to     *networking.Destination
	weight int32
}

// routeShares reports weights that do not add up to 100 (MSH1104), and destinations
// that are listed twice in one route (MSH1103).
func routeShares(w *world, f *findings) {
	for o, vs := range w.virtualServices() {
		for i, r := range vs.Http {
			var shares []share
			for _, d := range r.Route {
				shares = append(shares, share{d.GetDestination(), d.GetWeight()})
			}
			f.shares(o, at("spec.http", i)+".route", shares)
		}
		for i, r := range vs.Tcp {
			f.l4Shares(o, at("spec.tcp", i), r.Route)
		}
		for i, r := range vs.Tls {
			f.l4Shares(o, at("spec.tls", i), r.Route)
		}
	}
}

func (f *findings) l4Shares(o *resource.Object, path string, routes []*networking.RouteDestination) {
	var shares []share
	for _, d := range routes {
		shares = append(shares, share{d.GetDestination(), d.GetWeight()})
	}
	f.shares(o, path+".route", shares)
}

func (f *findings) shares(o *resource.Object, path string, shares []share) {
	var sum int64
	seen := map[string]int{}
	for i, s := range shares {
		sum += int64(s.weight)
		key := fmt.Sprintf("%s|%s|%d", strings.ToLower(s.to.GetHost()), s.to.GetSubset(), s.to.GetPort().GetNumber())
		first, again := seen[key]
		if !again {
			seen[key] = i
			continue
		}
		f.add(o, codeDestinationTwice, at(path, i)+".destination", text{
			fmt.Sprintf("the destination is the same as that of route[%d]", first), "both shares go to the same endpoints",
			"correct the host or subset of one, or add the weights in one entry",
		})
	}
	if len(shares) > 1 && sum != 100 && sum != 0 {
		var parts []string
		for _, s := range shares {
			parts = append(parts, fmt.Sprintf("%.4g %%", float64(s.weight)*100/float64(sum)))
		}
		f.add(o, codeWeightSum, path, text{
			fmt.Sprintf("the weights add up to %d, not to 100", sum), "they are shares of their sum: " + strings.Join(parts, ", "), "write them so that they add up to 100",
		})
	}
}
