package mesh

import "slices"

// Certificate is the material of a credentialName: a TLS or generic Secret, or a
// ConfigMap with a CA. Read-only; it is never printed.
type Certificate struct {
	Namespace string
	Name      string
	Chain     []byte // PEM: tls.crt or cert
	Key       []byte // PEM: tls.key or key
	CA        []byte // PEM: ca.crt or cacert; may be empty
	CRL       []byte // PEM; may be empty
	OCSP      []byte // DER staple; may be empty
	Origin    Origin
	Hash      uint64
}

// CollectionKey makes certificates usable in collections.
func (c *Certificate) CollectionKey() string { return c.Namespace + "/" + c.Name }

// Equal compares the material.
func (c *Certificate) Equal(d *Certificate) bool {
	return c == d || c.Hash == d.Hash && c.Origin == d.Origin && slices.Equal(c.Chain, d.Chain)
}

// String hides the material from logs and dumps.
func (c *Certificate) String() string { return "certificate " + c.CollectionKey() }
