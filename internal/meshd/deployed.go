package meshd

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/controlplane/provision"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// deployed is what runs for Gateways, by what passes on its way to the control
// plane. Every replica knows it: the one that writes statuses needs it.
type deployed struct {
	services map[resource.Key]serving        // in front of gateways
	slices   map[resource.Key]sliceOf        // of any Service
	ready    map[resource.Key]map[string]int // Service -> slice -> how many addresses are ready
}

// serving is a Service in front of the pods of a Gateway.
type serving struct {
	gateway   string // namespace/name
	addresses []gwv1.GatewayStatusAddress
}

type sliceOf struct{ service resource.Key }

func newDeployed() *deployed {
	return &deployed{services: map[resource.Key]serving{}, slices: map[resource.Key]sliceOf{}, ready: map[resource.Key]map[string]int{}}
}

// take notes an object, nil when it is gone, and returns the Gateway, as
// namespace/name, that it makes a difference to; "" for none.
func (d *deployed) take(k resource.Key, o *resource.Object, domain string) string {
	switch k.Kind {
	case resource.KindKubeGateway:
		return k.Namespace + "/" + k.Name
	case resource.KindService:
		before := d.services[k].gateway
		delete(d.services, k)
		if o != nil {
			if s, ok := o.Spec.(*corev1.Service); ok && o.Meta.Labels[mesh.LabelGatewayName] != "" && o.Meta.Labels[provision.LabelManaged] != "" {
				d.services[k] = serving{k.Namespace + "/" + o.Meta.Labels[mesh.LabelGatewayName], addressesOf(s, domain)}
				return d.services[k].gateway
			}
		}
		return before
	case resource.KindEndpointSlice:
		service := d.slices[k].service
		if o == nil {
			delete(d.slices, k)
			delete(d.ready[service], k.Name)
			if len(d.ready[service]) == 0 {
				delete(d.ready, service)
			}
			return d.services[service].gateway
		}
		s, ok := o.Spec.(*discoveryv1.EndpointSlice)
		if !ok {
			return ""
		}
		service = resource.Key{Kind: resource.KindService, Namespace: k.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		d.slices[k] = sliceOf{service}
		if d.ready[service] == nil {
			d.ready[service] = map[string]int{}
		}
		n := 0
		for i := range s.Endpoints {
			if r := s.Endpoints[i].Conditions.Ready; r == nil || *r {
				n += len(s.Endpoints[i].Addresses)
			}
		}
		if d.ready[service][k.Name] == n && n > 0 {
			return ""
		}
		d.ready[service][k.Name] = n
		return d.services[service].gateway
	default:
		return ""
	}
}

// of is what runs for a Gateway, nil for nothing yet.
func (d *deployed) of(namespace, name, problem string) *gatewayapi.Deployed {
	out := &gatewayapi.Deployed{Namespace: namespace, Name: name, Message: problem}
	for k, s := range d.services {
		if s.gateway != namespace+"/"+name {
			continue
		}
		out.Addresses = s.addresses
		for _, n := range d.ready[k] {
			out.Ready = out.Ready || n > 0
		}
		if problem == "" && !out.Ready {
			out.Message = "no pod of Deployment " + k.Name + " is ready yet"
		}
		out.Ready = out.Ready && problem == ""
		return out
	}
	if problem == "" {
		return nil
	}
	return out
}

// addressesOf are where clients reach a Service: its load balancer's addresses, or
// the name that it has in the cluster.
func addressesOf(s *corev1.Service, domain string) []gwv1.GatewayStatusAddress {
	var out []gwv1.GatewayStatusAddress
	address := func(kind gwv1.AddressType, value string) {
		out = append(out, gwv1.GatewayStatusAddress{Type: &kind, Value: value})
	}
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		address(gwv1.HostnameAddressType, s.Name+"."+s.Namespace+".svc."+domain)
		return out
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		switch {
		case i.IP != "":
			address(gwv1.IPAddressType, i.IP)
		case i.Hostname != "":
			address(gwv1.HostnameAddressType, i.Hostname)
		}
	}
	return out
}
