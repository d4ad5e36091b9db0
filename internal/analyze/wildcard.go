package analyze

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// wildcardHosts reports servers that take every host.
func wildcardHosts(w *world, f *findings) {
	for o, g := range w.gateways() {
		for i, s := range g.Servers {
			for j, h := range s.Hosts {
				_, host, ok := strings.Cut(h, "/")
				if !ok {
					host = h
				}
				if host != "*" || passesOn(s) {
					continue
				}
				f.add(o, codeWildcardExposed, at(at("spec.servers", i)+".hosts", j), text{
					portText(s) + " takes requests for every host", "any VirtualService that is bound to the gateway can serve any name, and scanners that know no name are served too",
					"list the hosts, or a wildcard of your own domain",
				})
			}
		}
	}
}

// passesOn reports whether a server hands connections on as they are: then it names
// no host, or the name must be known to somebody behind it.
func passesOn(s *networking.Server) bool {
	mode := s.GetTls().GetMode()
	if p := strings.ToUpper(s.GetPort().GetProtocol()); p == "TCP" || p == "MONGO" || p == "MYSQL" || p == "REDIS" {
		return true // no host is ever named
	}
	return s.Tls != nil && (mode == networking.ServerTLSSettings_PASSTHROUGH || mode == networking.ServerTLSSettings_AUTO_PASSTHROUGH)
}
