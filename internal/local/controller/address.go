package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Allocator gives services their virtual addresses. A service keeps its address
// as long as the Allocator lives, and gets the same one in another run unless
// its place is taken. Not safe for use from several goroutines.
type Allocator struct {
	network netip.Prefix
	given   map[string]netip.Addr // by namespace/name
}

// NewAllocator allocates from an IPv4 network of at least 16 addresses.
func NewAllocator(network netip.Prefix) *Allocator {
	return &Allocator{network: network.Masked(), given: map[string]netip.Addr{}}
}

// Services returns every Service among objects with its address set, sorted by
// name, and findings about those that cannot be served.
func (a *Allocator) Services(objects []*resource.Object) ([]*corev1.Service, []diag.Diagnostic) {
	var services []*corev1.Service
	var ds []diag.Diagnostic
	sources := map[string]*resource.Object{}
	for _, o := range objects {
		s, ok := o.Spec.(*corev1.Service)
		if !ok {
			continue
		}
		s = s.DeepCopy()
		s.Namespace = cmp.Or(o.Key.Namespace, "default") // the text may name none
		services = append(services, s)
		sources[s.Namespace+"/"+s.Name] = o
	}
	slices.SortFunc(services, func(x, y *corev1.Service) int {
		return compareKeys(WorkloadKey{"", x.Namespace, x.Name}, WorkloadKey{"", y.Namespace, y.Name})
	})
	a.forgetMissing(sources)
	used := map[netip.Addr]string{}
	var kept []*corev1.Service
	// Addresses that are asked for by number come first, then those given
	// before, so that a new service never takes one away.
	for _, s := range services {
		if !needsAddress(s) || s.Spec.ClusterIP == "" {
			continue
		}
		id := s.Namespace + "/" + s.Name
		ip, err := a.explicit(s, used)
		if err != nil {
			o := sources[id]
			ds = append(ds, diag.Diagnostic{
				Code: CodeService, Severity: diag.Error, Object: o.Ref(), Pos: o.At("spec.clusterIP"), Field: "spec.clusterIP",
				Message: err.Error(), Effect: "the service is left out", Fix: "remove clusterIP and let the mesh choose",
			})
			delete(sources, id)
			continue
		}
		used[ip], a.given[id] = id, ip
	}
	for id, ip := range a.given {
		if holder, taken := used[ip]; taken && holder != id {
			delete(a.given, id)
			continue
		}
		used[ip] = id
	}
	for _, s := range services {
		id := s.Namespace + "/" + s.Name
		if _, ok := sources[id]; !ok {
			continue
		}
		if needsAddress(s) {
			if err := a.assign(s, used); err != nil {
				o := sources[id]
				ds = append(ds, diag.Diagnostic{
					Code: CodeService, Severity: diag.Error, Object: o.Ref(), Pos: o.Pos, Message: err.Error(),
					Effect: "the service is left out", Fix: "remove services that are not needed",
				})
				continue
			}
		}
		kept = append(kept, s)
	}
	return kept, ds
}

func needsAddress(s *corev1.Service) bool {
	return s.Spec.ClusterIP != corev1.ClusterIPNone && s.Spec.Type != corev1.ServiceTypeExternalName
}

func (a *Allocator) forgetMissing(sources map[string]*resource.Object) {
	for id := range a.given {
		if _, ok := sources[id]; !ok {
			delete(a.given, id)
		}
	}
}

func (a *Allocator) explicit(s *corev1.Service, used map[netip.Addr]string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s.Spec.ClusterIP)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("clusterIP %q is neither an address nor None", s.Spec.ClusterIP)
	}
	if !a.network.Contains(ip) {
		return netip.Addr{}, fmt.Errorf("clusterIP %s is outside of the service network %s", ip, a.network)
	}
	if holder, taken := used[ip]; taken {
		return netip.Addr{}, fmt.Errorf("clusterIP %s is the address of service %s", ip, holder)
	}
	return ip, nil
}

// assign finds the service's address: by the hash of its name, then the next free one.
func (a *Allocator) assign(s *corev1.Service, used map[netip.Addr]string) error {
	id := s.Namespace + "/" + s.Name
	ip, ok := a.given[id]
	if !ok {
		size := uint64(1) << (32 - a.network.Bits())
		// The first ten are left for fixed uses, as in a cluster; the last is broadcast.
		usable := size - 11
		start := hashOf(id) % usable
		for i := uint64(0); ; i++ {
			if i == usable {
				return fmt.Errorf("no free address in the service network %s", a.network)
			}
			ip = offset(a.network.Addr(), 10+(start+i)%usable)
			if _, taken := used[ip]; !taken {
				break
			}
		}
		a.given[id] = ip
	}
	used[ip] = id
	s.Spec.ClusterIP, s.Spec.ClusterIPs = ip.String(), []string{ip.String()}
	return nil
}

func offset(base netip.Addr, n uint64) netip.Addr {
	b := base.As4()
	v := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
