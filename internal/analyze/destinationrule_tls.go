package analyze

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// caCertificates reports TLS to a destination for which no root of trust is named:
// for all ports (IST0128) or for one (IST0129).
func caCertificates(w *world, f *findings) {
	for _, r := range w.rules() {
		r.policies(func(path string, p *networking.TrafficPolicy) {
			if unverified(p.Tls) {
				f.add(r.object, codeUnverified, path+".tls", unverifiedText(p.Tls, r.host))
			}
			for i, s := range p.PortLevelSettings {
				if unverified(s.GetTls()) {
					t := unverifiedText(s.Tls, fmt.Sprintf("port %d of %s", s.GetPort().GetNumber(), r.host))
					f.add(r.object, codeUnverifiedPort, at(path+".portLevelSettings", i)+".tls", t)
				}
			}
		})
	}
}

func unverified(t *networking.ClientTLSSettings) bool {
	switch t.GetMode() {
	case networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_MUTUAL:
		return t.CaCertificates == "" && t.CredentialName == "" && !t.GetInsecureSkipVerify().GetValue()
	default:
		return false
	}
}

func unverifiedText(t *networking.ClientTLSSettings, what string) text {
	return text{
		fmt.Sprintf("TLS mode %s to %s names no caCertificates", t.Mode, what),
		"the certificate is checked against the roots of the proxy's own system: one of a private authority is refused, one of any public authority is taken",
		"set caCertificates or credentialName; \"system\" says that the system's roots are meant",
	}
}
