package derive

import (
	"strings"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// certificates derives what credentialName can refer to: Secrets of the TLS kind
// or with the generic keys that Istio reads.
func certificates(g *collection.Graph, m *Mesh, in *Inputs) {
	m.Certificates = collection.Derive(g, "certificates", Objects(in.Of(resource.KindSecret)), func(_ *collection.Ctx, o *resource.Object) (*mesh.Certificate, bool) {
		s, ok := o.Spec.(*corev1.Secret)
		if !ok {
			return nil, false
		}
		c := certificateOf(o, s)
		return c, len(c.Chain) > 0 || len(c.CA) > 0
	})
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
	h := xxhash.New()
	for _, part := range [][]byte{c.Chain, c.Key, c.CA, c.CRL, c.OCSP} {
		h.Write(part)      //nolint:errcheck // a hash does not fail
		h.Write([]byte{0}) //nolint:errcheck // a hash does not fail
	}
	c.Hash = h.Sum64()
	return c
}
