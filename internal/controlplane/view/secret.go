package view

import (
	"fmt"
	"slices"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// codeCredential is Istio's code for a Gateway whose certificate is not usable.
const codeCredential = "IST0161"

// refusedCertificate says why a gateway does not get a certificate.
func refusedCertificate(servers []mesh.GatewayServer, name, why string) diag.Diagnostic {
	d := diag.Diagnostic{
		Code: codeCredential, Severity: diag.Error,
		Message: fmt.Sprintf("certificate %s: %s", name, why),
		Effect:  "TLS handshakes with this server are refused",
		Fix:     "create the Secret (kubernetes.io/tls) in the gateway's namespace",
	}
	for _, s := range servers {
		if slices.Contains(xdsgen.GatewaySecretNames([]mesh.GatewayServer{s}), name) {
			d.Object, d.Pos = s.Origin.Ref(), s.Origin.Pos
			if d.Field = s.Field + ".tls.credentialName"; s.Granted {
				d.Field = s.Field + ".tls.certificateRefs"
			}
			break
		}
	}
	return d
}
