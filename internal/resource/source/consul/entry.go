package consul

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Metadata of instances that has a meaning here.
const (
	metaProtocol = "protocol" // of the port: http, grpc, tcp, …; as in Consul's service-defaults
	metaPort     = "mesh-port"
)

// labelNode on an endpoint says on which node of Consul's it is.
const labelNode = "consul-node"

// entry makes the ServiceEntry of a service: nil when it has no instance. The port of
// the service is that of its instances; where they differ the lowest, or what the
// metadata mesh-port says.
func (s *Source) entry(name string, instances []instance) (*resource.Object, error) {
	instances = slices.DeleteFunc(slices.Clone(instances), func(i instance) bool {
		return i.Service.Kind != "" || i.Service.Port <= 0 || i.Service.Port > 65535 // a proxy of Consul's own, or nothing to connect to
	})
	if len(instances) == 0 {
		return nil, nil //nolint:nilnil // there is no service then
	}
	slices.SortFunc(instances, func(a, b instance) int {
		return cmp.Or(cmp.Compare(a.Service.Port, b.Service.Port), cmp.Compare(a.address(), b.address()), cmp.Compare(a.Service.ID, b.Service.ID))
	})
	port := &networking.ServicePort{Number: uint32(instances[0].Service.Port)}
	for _, i := range instances {
		if p := i.Service.Meta[metaProtocol]; p != "" && port.Protocol == "" {
			port.Protocol = strings.ToUpper(p)
		}
		var n uint32
		if v := i.Service.Meta[metaPort]; v != "" {
			if _, err := fmt.Sscan(v, &n); err != nil || n == 0 || n > 65535 {
				return nil, fmt.Errorf("%s=%q of instance %s is not a port", metaPort, v, i.Service.ID)
			}
			port.Number = n
		}
	}
	port.Name = cmp.Or(strings.ToLower(port.Protocol), "service")
	spec := &networking.ServiceEntry{
		Hosts: []string{strings.ToLower(name) + ".service." + s.o.Domain}, Ports: []*networking.ServicePort{port},
		Location: networking.ServiceEntry_MESH_INTERNAL, Resolution: networking.ServiceEntry_STATIC,
	}
	for _, i := range instances {
		if !i.healthy() {
			continue
		}
		if _, err := netip.ParseAddr(i.address()); err != nil {
			return nil, fmt.Errorf("address %q of instance %s is not an IP address", i.address(), i.Service.ID)
		}
		e := &networking.WorkloadEntry{
			Address: i.address(), Ports: map[string]uint32{port.Name: uint32(i.Service.Port)}, Labels: i.labels(), Locality: i.Node.Datacenter,
		}
		if w := i.Service.Weights.Passing; w > 1 {
			e.Weight = uint32(w)
		}
		spec.Endpoints = append(spec.Endpoints, e)
	}
	if len(spec.Endpoints) == 0 {
		// A service without a healthy instance is there, and answers 503. Without endpoints a
		// selector that nothing has says so.
		spec.WorkloadSelector = &networking.WorkloadSelector{Labels: map[string]string{labelNode: "none-is-healthy"}}
	}
	o, err := resource.FromSpec(resource.KindServiceEntry, metav1.ObjectMeta{Namespace: s.o.Namespace, Name: strings.ToLower(name)}, spec)
	if err != nil {
		return nil, err
	}
	for _, d := range resource.Validate(o) {
		if d.Severity == diag.Error {
			return nil, errors.New(strings.TrimPrefix(d.Field+": "+d.Message, ": "))
		}
	}
	return o, nil
}

// address is the instance's own, else its node's, as Consul's DNS has it.
func (i instance) address() string { return cmp.Or(i.Service.Address, i.Node.Address) }

// healthy: no check is critical. A warning takes traffic, as in Consul's DNS.
func (i instance) healthy() bool {
	for _, c := range i.Checks {
		if c.Status != "passing" && c.Status != "warning" {
			return false
		}
	}
	return true
}

// maxLabel bounds values of labels.
const maxLabel = 63

// labels are the tags of the form name=value or name|value, and the metadata, as far
// as they can be labels: subsets select by them. Tags count more.
func (i instance) labels() map[string]string {
	out := map[string]string{}
	put := func(k, v string) {
		if validLabel(k) && (v == "" || validLabel(v)) {
			out[k] = v
		}
	}
	for k, v := range i.Service.Meta {
		if k != metaProtocol && k != metaPort {
			put(k, v)
		}
	}
	for _, t := range i.Service.Tags {
		if at := strings.IndexAny(t, "=|"); at > 0 {
			put(t[:at], t[at+1:])
		}
	}
	put("app", i.Service.Service)
	if i.Node.Node != "" {
		put(labelNode, i.Node.Node)
	}
	return out
}

// validLabel is what Kubernetes allows in a label's name and value alike.
func validLabel(s string) bool {
	if s == "" || len(s) > maxLabel {
		return false
	}
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' }
	for n := range len(s) {
		if c := s[n]; !alnum(c) && (n == 0 || n == len(s)-1 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return true
}
