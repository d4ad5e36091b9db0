package identity

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	securityv1alpha1 "istio.io/api/security/v1alpha1"
)

// Client asks a CSR service over gRPC. The token file is read anew for each
// call, since it is rotated under us.
type Client struct {
	Conn      grpc.ClientConnInterface
	TokenFile string // empty: the connection's client certificate speaks for us
	Cluster   string // ID of the cluster that the token is of; "" is not said
}

// SignCSR implements Signer.
func (c Client) SignCSR(ctx context.Context, csrPEM []byte, ttl time.Duration) ([]string, error) {
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read token: %w", err)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(b)))
		if c.Cluster != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, MetadataCluster, c.Cluster)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := securityv1alpha1.NewIstioCertificateServiceClient(c.Conn).CreateCertificate(ctx,
		&securityv1alpha1.IstioCertificateRequest{Csr: string(csrPEM), ValidityDuration: int64(ttl / time.Second)})
	if err != nil {
		return nil, err
	}
	return r.GetCertChain(), nil
}

// LocalSigner signs with a CA of the same process, for the control plane's own
// server certificate.
type LocalSigner struct {
	CA       *CA
	ID       ID
	DNSNames []string
}

// SignCSR implements Signer.
func (s LocalSigner) SignCSR(_ context.Context, csrPEM []byte, ttl time.Duration) ([]string, error) {
	pub, err := ParseCSR(csrPEM)
	if err != nil {
		return nil, err
	}
	chain, err := s.CA.Sign(SignRequest{PublicKey: pub, URIs: []*url.URL{s.ID.URL()}, DNSNames: s.DNSNames, TTL: ttl})
	if err != nil {
		return nil, err
	}
	out := make([]string, len(chain))
	for i, c := range chain {
		out[i] = string(c)
	}
	return out, nil
}
