package dump

import (
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"slices"
	"time"
)

// Secret is one certificate that a proxy holds.
type Secret struct {
	Name      string    `json:"name"`
	Type      string    `json:"type"`  // Cert Chain or CA
	State     string    `json:"state"` // ACTIVE or WARMING
	Valid     bool      `json:"valid"` // at the time asked for
	Serial    string    `json:"serialNumber,omitempty"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Identity is the certificate's first URI name.
	Identity string `json:"identity,omitempty"`
}

// Secrets lists certificates by name; of a chain the first, of trusted
// certificates all.
func (d *Dump) Secrets(now time.Time) []Secret {
	var out []Secret
	for _, r := range d.secrets {
		s, ok := readSecret(r.Raw)
		if !ok {
			continue
		}
		state := "ACTIVE"
		if r.State == "warming" {
			state = "WARMING"
		}
		row := Secret{Name: s.Name, State: state}
		switch {
		case s.TLS != nil:
			row.Type = "Cert Chain"
			out = append(out, rows(row, s.TLS.Chain, now, 1)...)
		case s.CA != nil:
			row.Type = "CA"
			out = append(out, rows(row, s.CA.Trusted, now, 1000)...)
		default:
			row.Type = "-"
			out = append(out, row)
		}
	}
	slices.SortStableFunc(out, func(a, b Secret) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Certificates are those of the secrets of a name: of a chain the leaf first, of
// trusted certificates all.
func (d *Dump) Certificates(name string) []*x509.Certificate {
	var out []*x509.Certificate
	for _, r := range d.secrets {
		if s, ok := readSecret(r.Raw); ok && s.Name == name {
			for _, from := range []*source{s.chain(), s.trusted()} {
				if from != nil {
					out = append(out, from.certificates()...)
				}
			}
		}
	}
	return out
}

// secret is a Secret of Envoy's, as far as it holds certificates.
type secret struct {
	Name string `json:"name"`
	TLS  *struct {
		Chain source `json:"certificate_chain"`
	} `json:"tls_certificate"`
	CA *struct {
		Trusted source `json:"trusted_ca"`
	} `json:"validation_context"`
}

func readSecret(raw json.RawMessage) (secret, bool) {
	var s secret
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

func (s *secret) chain() *source {
	if s.TLS == nil {
		return nil
	}
	return &s.TLS.Chain
}

func (s *secret) trusted() *source {
	if s.CA == nil {
		return nil
	}
	return &s.CA.Trusted
}

// source is envoy.config.core.v3.DataSource.
type source struct {
	Bytes  string `json:"inline_bytes"`
	String string `json:"inline_string"`
}

// certificates are those that can be read, in order.
func (s source) certificates() []*x509.Certificate {
	text, err := base64.StdEncoding.DecodeString(s.Bytes)
	if err != nil || len(text) == 0 {
		text = []byte(s.String)
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, cert)
		}
	}
}

// rows is a row for each of the first most certificates; one that is not valid
// when none can be read.
func rows(row Secret, from source, now time.Time, most int) []Secret {
	var out []Secret
	for _, cert := range from.certificates() {
		if len(out) == most {
			break
		}
		r := row
		r.Serial = hex.EncodeToString(cert.SerialNumber.Bytes()) // whole bytes, as openssl and istioctl have it
		r.NotAfter, r.NotBefore = cert.NotAfter, cert.NotBefore
		r.Valid = now.Before(cert.NotAfter) && !now.Before(cert.NotBefore)
		if len(cert.URIs) > 0 {
			r.Identity = cert.URIs[0].String()
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		out = append(out, row)
	}
	return out
}
