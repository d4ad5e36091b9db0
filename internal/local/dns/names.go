package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Names makes the Table for services and their endpoints in a domain, as the
// Kubernetes DNS specification has it.
func Names(domain string, services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice) *Table {
	t := &Table{Addresses: map[string][]netip.Addr{}, Aliases: map[string]string{}, Services: map[string][]SRV{}}
	byService := map[string][]*discoveryv1.EndpointSlice{}
	for _, e := range endpoints {
		id := e.Namespace + "/" + e.Labels[discoveryv1.LabelServiceName]
		byService[id] = append(byService[id], e)
	}
	for _, s := range services {
		name := dns.Fqdn(strings.ToLower(s.Name + "." + s.Namespace + ".svc." + domain))
		switch {
		case s.Spec.Type == corev1.ServiceTypeExternalName:
			t.Aliases[name] = dns.Fqdn(strings.ToLower(s.Spec.ExternalName))
		case s.Spec.ClusterIP == corev1.ClusterIPNone:
			t.headless(name, byService[s.Namespace+"/"+s.Name])
		default:
			if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil {
				t.Addresses[name] = []netip.Addr{ip}
				for _, p := range s.Spec.Ports {
					t.port(p.Name, p.Protocol, name, SRV{Target: name, Port: uint16(p.Port)})
				}
			}
		}
	}
	return t
}

func (t *Table) port(port string, protocol corev1.Protocol, service string, srv SRV) {
	if port == "" {
		return
	}
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	key := "_" + strings.ToLower(port) + "._" + strings.ToLower(string(protocol)) + "." + service
	t.Services[key] = append(t.Services[key], srv)
}

func (t *Table) headless(name string, slices []*discoveryv1.EndpointSlice) {
	t.Addresses[name] = nil // the name exists, also without endpoints
	for _, slice := range slices {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, text := range e.Addresses {
				ip, err := netip.ParseAddr(text)
				if err != nil {
					continue
				}
				t.Addresses[name] = append(t.Addresses[name], ip)
				host := strings.ReplaceAll(text, ".", "-") + "." + name
				if e.Hostname != nil && *e.Hostname != "" {
					host = strings.ToLower(*e.Hostname) + "." + name
				}
				t.Addresses[host] = []netip.Addr{ip}
				for _, p := range slice.Ports {
					t.port(*p.Name, *p.Protocol, name, SRV{Target: host, Port: uint16(*p.Port)})
				}
			}
		}
	}
}
