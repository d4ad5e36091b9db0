package derive

import (
	"strings"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// certificates derives what credentialName can refer to: Secrets of the TLS kind
// or with the generic keys that Istio reads; and ConfigMaps with a CA, to which only
// the Gateway API refers.
func certificates(g *collection.Graph, m *Mesh, in *Inputs) {
	secrets := collection.Derive(g, "certificate-secrets", Objects(in.Of(resource.KindSecret)), func(_ *collection.Ctx, o *resource.Object) (*mesh.Certificate, bool) {
		s, ok := o.Spec.(*corev1.Secret)
		if !ok {
			return nil, false
		}
		c := certificateOf(o, s)
		return c, len(c.Chain) > 0 || len(c.CA) > 0
	})
	bundles := collection.Derive(g, "certificate-bundles", Objects(in.Of(resource.KindConfigMap)), func(_ *collection.Ctx, o *resource.Object) (*mesh.Certificate, bool) {
		m, ok := o.Spec.(*corev1.ConfigMap)
		if !ok || m.Data["ca.crt"] == "" {
			return nil, false
		}
		c := &mesh.Certificate{Namespace: o.Key.Namespace, Name: gatewayapi.CABundle(o.Key.Name), Origin: originOf(o), CA: []byte(m.Data["ca.crt"])}
		return sealed(c), true
	})
	m.Certificates = collection.Join(g, "certificates", secrets, bundles)
}

func certificateOf(o *resource.Object, s *corev1.Secret) *mesh.Certificate {
	get := func(keys ...string) []byte {
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
	c := &mesh.Certificate{
		Namespace: o.Key.Namespace, Name: o.Key.Name, Origin: originOf(o),
		Chain: get("tls.crt", "cert"), Key: get("tls.key", "key"), CA: get("ca.crt", "cacert"),
		CRL: get("ca.crl", "crl"), OCSP: get("tls.ocsp-staple"),
	}
	if len(c.CA) == 0 && strings.HasSuffix(o.Key.Name, "-cacert") {
		c.CA = c.Chain
	}
	return sealed(c)
}

func sealed(c *mesh.Certificate) *mesh.Certificate {
	h := xxhash.New()
	for _, part := range [][]byte{c.Chain, c.Key, c.CA, c.CRL, c.OCSP} {
		h.Write(part)      //nolint:errcheck // a hash does not fail
		h.Write([]byte{0}) //nolint:errcheck // a hash does not fail
	}
	c.Hash = h.Sum64()
	return c
}
