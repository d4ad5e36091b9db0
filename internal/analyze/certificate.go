package analyze

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/reference"
	"github.com/meshctl/meshctl/internal/resource"
)

// expiresSoon is how long before its end a certificate is reported.
const expiresSoon = 30 * 24 * time.Hour

// servedSecrets are the Secrets with certificates that gateways of either API serve,
// each with the hosts that it serves for.
func (w *world) servedSecrets() map[*resource.Object][]string {
	out := map[*resource.Object][]string{}
	for o, g := range w.gateways() {
		for i, s := range g.Servers {
			for _, c := range reference.Credentials(s.GetTls(), at("spec.servers", i)) {
				for _, ns := range w.gatewayNamespaces(o, g) {
					if secret := w.get(resource.KindSecret, ns, c.Name); secret != nil {
						out[secret] = append(out[secret], s.Hosts...)
					}
				}
			}
		}
	}
	for o, g := range each[*gwv1.Gateway](w, resource.KindKubeGateway) {
		for _, l := range g.Spec.Listeners {
			if l.TLS == nil {
				continue
			}
			for _, ref := range l.TLS.CertificateRefs {
				if secret := w.get(resource.KindSecret, namespaceOr(ref.Namespace, o.Key.Namespace), string(ref.Name)); secret != nil {
					out[secret] = append(out[secret], hostnameOf(l.Hostname))
				}
			}
		}
	}
	return out
}

// certificates reports certificates of gateways that have expired or soon will
// (MSH1110), and the same certificate in several Secrets for different hosts (MSH1111).
func certificates(w *world, f *findings) {
	served := w.servedSecrets()
	byPrint := map[[32]byte]*resource.Object{}
	for _, o := range w.of(resource.KindSecret) {
		hosts, ok := served[o]
		if !ok {
			continue
		}
		secret, _ := o.Spec.(*corev1.Secret)
		cert, err := certificateOf(secret, networking.ServerTLSSettings_SIMPLE)
		if err != nil {
			continue // reported where it is referred to
		}
		f.expiry(o, cert.NotBefore, cert.NotAfter)
		key := sha256.Sum256(cert.Raw)
		other := byPrint[key]
		if other == nil {
			byPrint[key] = o
			continue
		}
		if slices.Equal(slices.Sorted(slices.Values(hosts)), slices.Sorted(slices.Values(served[other]))) {
			continue
		}
		f.add(o, codeSameCertificate, "metadata.name", text{
			"Secret " + full(other) + " holds the same certificate, for other hosts",
			"browsers reuse an HTTP/2 connection for all hosts of a certificate: requests may arrive at a server that does not know their host, and get 404",
			"serve the hosts from one server, or use a certificate for each",
		})
	}
}

func (f *findings) expiry(o *resource.Object, from, until time.Time) {
	now := f.w.now
	if now.IsZero() {
		return
	}
	const field = "metadata.name"
	fix := "renew the certificate"
	switch left := until.Sub(now); {
	case left <= 0:
		f.addAt(o, codeCertificateExpires, diag.Error, field, text{"the certificate expired on " + day(until), "clients refuse the connection", fix})
	case from.After(now):
		f.addAt(o, codeCertificateExpires, diag.Error, field, text{"the certificate is valid only from " + day(from), "clients refuse the connection until then", fix})
	case left < expiresSoon:
		f.add(o, codeCertificateExpires, field, text{
			fmt.Sprintf("the certificate expires on %s, in %s", day(until), plural.Of(int(left.Hours()/24), "day")), "clients refuse connections from then on", fix,
		})
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
