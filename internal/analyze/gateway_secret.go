package analyze

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/reference"
	"github.com/meshctl/meshctl/internal/resource"
)

// gatewaySecrets reports credentials of Gateways that do not exist (IST0101), or
// hold no certificate that can be used (IST0161).
func gatewaySecrets(w *world, f *findings) {
	for o, g := range w.gateways() {
		namespaces := w.gatewayNamespaces(o, g)
		for i, s := range g.Servers {
			for _, c := range reference.Credentials(s.GetTls(), at("spec.servers", i)+".tls") {
				f.credential(o, c, s.Tls, namespaces)
			}
		}
	}
}

// gatewayNamespaces are where a Gateway's Secrets are looked for: the namespaces
// of the pods that serve it.
func (w *world) gatewayNamespaces(o *resource.Object, g *networking.Gateway) []string {
	var out []string
	for _, p := range w.gatewayPods(g) {
		out = append(out, p.namespace)
	}
	if len(out) == 0 {
		out = []string{w.root} // where an installation puts its gateways
		if !isStandard(g.Selector) {
			out = []string{o.Key.Namespace}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (f *findings) credential(o *resource.Object, c reference.Credential, t *networking.ServerTLSSettings, namespaces []string) {
	for _, ns := range namespaces {
		ns, name := c.Secret(ns)
		s := f.w.get(resource.KindSecret, ns, name)
		if s == nil {
			n := f.w.namespaces[ns]
			f.missing(o, codeNotFound, f.w.missingUnless(n != nil && n.hasSecrets), c.Field, ns, text{
				"Secret " + ns + "/" + name + " does not exist", "the server is not opened: connections are refused",
				"create the Secret in the namespace of the gateway's pods",
			})
			continue
		}
		secret, ok := s.Spec.(*corev1.Secret)
		if !ok {
			continue
		}
		if _, err := certificateOf(secret, t.GetMode()); err != nil {
			f.add(o, codeCredential, c.Field, text{
				fmt.Sprintf("Secret %s/%s is no credential: %v", ns, name, err), "the server is not opened: connections are refused",
				"store a certificate as tls.crt and its key as tls.key",
			})
		}
	}
}

// certificateOf reads the certificate of a Secret, in the forms that gateways take.
func certificateOf(s *corev1.Secret, mode networking.ServerTLSSettings_TLSmode) (*x509.Certificate, error) {
	cert, key := secretValue(s, "tls.crt", "cert"), secretValue(s, "tls.key", "key")
	if len(cert) == 0 || len(key) == 0 {
		return nil, errors.New("it has neither tls.crt and tls.key nor cert and key")
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate and key do not fit: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	if mode == networking.ServerTLSSettings_MUTUAL {
		ca := secretValue(s, "ca.crt", "cacert")
		if block, _ := pem.Decode(ca); len(ca) > 0 && block == nil {
			return nil, errors.New("ca.crt holds no certificate")
		}
	}
	return leaf, nil
}

// secretValue is the first of some keys that a Secret has, in either of its forms.
func secretValue(s *corev1.Secret, keys ...string) []byte {
	for _, k := range keys {
		if v := s.Data[k]; len(v) > 0 {
			return v
		}
		if v := s.StringData[k]; v != "" {
			return []byte(v)
		}
	}
	return nil
}
