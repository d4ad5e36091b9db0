package analyze

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// gatewayPorts reports ports of Gateways that no Service in front of the gateway
// has: nobody reaches them from outside.
func gatewayPorts(w *world, f *findings) {
	for o, g := range w.gateways() {
		ports, any := w.exposedPorts(g.Selector)
		if !any {
			continue
		}
		for i, s := range g.Servers {
			n := s.GetPort().GetNumber()
			if n == 0 || slices.Contains(ports, n) {
				continue
			}
			f.add(o, codeGatewayPort, at("spec.servers", i)+".port.number", text{
				fmt.Sprintf("no Service in front of the gateway %s has port %d: there are %s", labelText(g.Selector), n, joinPorts(ports)),
				"the port is not reached from outside", "add the port to the gateway's Service, or use one that it has",
			})
		}
	}
}

// exposedPorts are the ports of the Services that select pods of a gateway; any is
// false when there is no such Service.
func (w *world) exposedPorts(selector map[string]string) (ports []uint32, any bool) {
	if len(selector) == 0 {
		return nil, false
	}
	for _, p := range w.selected("", selector) {
		for _, s := range w.services.inFront[p] {
			any = true
			for _, port := range s.ports() {
				ports = append(ports, port.number)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), any
}

func joinPorts(ports []uint32) string {
	var parts []string
	for _, p := range ports {
		parts = append(parts, strconv.FormatUint(uint64(p), 10))
	}
	return strings.Join(parts, ", ")
}
