package xdsgen

import (
	"cmp"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/nametable"
)

// NameTable makes what the DNS proxy of a class answers. A service of which no
// address is known, such as one that is resolved by DNS anyway, has no entry:
// such questions go on to the machine's own resolver.
func NameTable(in NameTableInput) nametable.Table {
	services := slices.Clone(in.Services)
	slices.SortFunc(services, func(a, b NameTableService) int {
		return cmp.Or(compareOrigins(a.Service.Origin, b.Service.Origin), strings.Compare(a.Service.Namespace, b.Service.Namespace))
	})
	out := nametable.Table{}
	add := func(host string, i nametable.Info) {
		if _, taken := out[host]; !taken && len(i.IPs) > 0 {
			out[host] = i
		}
	}
	for _, s := range services {
		info := nametable.Info{Registry: s.Service.Registry, Namespace: s.Service.Namespace}
		if s.Service.Registry == mesh.RegistryKubernetes {
			info.Shortname = s.Service.Name
		}
		if !s.Service.Headless {
			for _, v := range s.Service.VIPs() {
				if isAddress(v) {
					info.IPs = append(info.IPs, v)
				}
			}
			add(s.Service.Host, info)
			continue
		}
		byPod := map[string][]string{}
		for _, e := range s.Endpoints {
			if !isAddress(e.Address) || e.Health == mesh.Unhealthy && !s.Service.PublishNotReady {
				continue
			}
			info.IPs = append(info.IPs, e.Addresses()...)
			if e.Hostname != "" {
				byPod[e.Hostname] = append(byPod[e.Hostname], e.Addresses()...)
			}
		}
		info.IPs = sortedSet(info.IPs)
		add(s.Service.Host, info)
		for pod, ips := range byPod {
			one := info
			one.IPs = sortedSet(ips)
			if info.Shortname != "" {
				one.Shortname = pod + "." + info.Shortname
			}
			add(pod+"."+s.Service.Host, one)
		}
	}
	return out
}
