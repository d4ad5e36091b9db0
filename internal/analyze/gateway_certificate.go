package analyze

import (
	"slices"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/reference"
	"github.com/meshctl/meshctl/internal/resource"
)

// gatewayCertificates reports Gateways of one workload that use one certificate:
// a browser that has a connection for one host sends requests for the other on it.
func gatewayCertificates(w *world, f *findings) {
	type use struct {
		object *resource.Object
		hosts  []string
	}
	users := map[string][]use{}
	for o, g := range w.gateways() {
		for i, s := range g.Servers {
			path := at("spec.servers", i) + ".tls"
			certificates := reference.Credentials(s.GetTls(), path)
			if file := s.GetTls().GetServerCertificate(); file != "" && len(certificates) == 0 {
				certificates = []reference.Credential{{Name: "file:" + file + ":" + s.GetTls().GetPrivateKey(), Field: path + ".serverCertificate"}}
			}
			for _, c := range certificates {
				key := mesh.LabelsKey(g.Selector) + "|" + c.Name
				j := slices.IndexFunc(users[key], func(u use) bool { return u.object != o })
				if j >= 0 && !slices.Equal(users[key][j].hosts, s.Hosts) {
					other := users[key][j].object
					f.add(o, codeGatewayCertificates, c.Field, text{
						"Gateway " + full(other) + " uses the same certificate for other hosts",
						"browsers reuse an HTTP/2 connection for all hosts of its certificate, and get 404 for those of the other Gateway",
						"put the hosts in one Gateway, or use a certificate for each",
					})
				}
				users[key] = append(users[key], use{o, s.Hosts})
			}
		}
	}
}
