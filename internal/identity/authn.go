package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// Caller is who has proven to be at the other end of a call.
type Caller struct {
	ID  ID
	Pod string // known for tokens bound to a pod
	Via string // which authenticator said so
	// Token reports that it was a token, and Cluster the ID of the cluster whose API server
	// vouches for it; "" where the caller named none.
	Token   bool
	Cluster string
}

// Authenticator finds out who calls from what a gRPC call carries.
// ErrNoCredentials means that it has nothing to judge by; the next is asked.
type Authenticator interface {
	Authenticate(ctx context.Context) (Caller, error)
}

// ErrNoCredentials is returned by an Authenticator that finds nothing of its kind.
var ErrNoCredentials = errors.New("no credentials of this kind")

// Authenticators asks one after the other. Credentials that are there but wrong
// end the search: a bad token next to a good certificate is refused.
type Authenticators []Authenticator

// Authenticate returns the first authenticated caller.
func (as Authenticators) Authenticate(ctx context.Context) (Caller, error) {
	for _, a := range as {
		c, err := a.Authenticate(ctx)
		if errors.Is(err, ErrNoCredentials) {
			continue
		}
		return c, err
	}
	return Caller{}, ErrNoCredentials
}

// CertAuthenticator takes the identity of a verified client certificate.
type CertAuthenticator struct {
	TrustDomains []string
}

// Authenticate implements Authenticator.
func (a CertAuthenticator) Authenticate(ctx context.Context) (Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, ErrNoCredentials
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Caller{}, ErrNoCredentials
	}
	leaf := info.State.VerifiedChains[0][0]
	if len(leaf.URIs) != 1 {
		return Caller{}, fmt.Errorf("client certificate has %d URI names, want one SPIFFE ID", len(leaf.URIs))
	}
	id, err := ParseID(leaf.URIs[0].String())
	if err != nil {
		return Caller{}, fmt.Errorf("client certificate: %w", err)
	}
	if slices.Contains(a.TrustDomains, id.TrustDomain) {
		return Caller{ID: id, Via: "client certificate"}, nil
	}
	return Caller{}, fmt.Errorf("client certificate of trust domain %q, which is not ours", id.TrustDomain)
}

// TokenVerifier checks a bearer token.
type TokenVerifier interface {
	Verify(token string) (namespace, serviceAccount, pod string, err error)
}

// TokenAuthenticator takes the identity from "authorization: Bearer …" metadata.
type TokenAuthenticator struct {
	Verifier    TokenVerifier
	TrustDomain string
	// OfCluster finds who checks the tokens of the cluster that the caller names ("" for
	// none) in the metadata "clusterid"; nil: Verifier checks all.
	OfCluster func(id string) (TokenVerifier, error)
}

// MetadataCluster is the metadata of a call that names the caller's cluster.
const MetadataCluster = "clusterid"

// Authenticate implements Authenticator.
func (a TokenAuthenticator) Authenticate(ctx context.Context) (Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	vs := md.Get("authorization")
	if len(vs) == 0 {
		return Caller{}, ErrNoCredentials
	}
	if len(vs) > 1 {
		return Caller{}, errors.New("more than one authorization value")
	}
	token, ok := strings.CutPrefix(vs[0], "Bearer ")
	if !ok {
		return Caller{}, errors.New("authorization is not a bearer token")
	}
	verifier, cluster := a.Verifier, ""
	if a.OfCluster != nil {
		if named := md.Get(MetadataCluster); len(named) > 0 {
			cluster = named[0]
		}
		var err error
		if verifier, err = a.OfCluster(cluster); err != nil {
			return Caller{}, err
		}
	}
	ns, sa, pod, err := verifier.Verify(token)
	if err != nil {
		return Caller{}, err
	}
	id := ID{TrustDomain: a.TrustDomain, Namespace: ns, ServiceAccount: sa}
	if _, err := ParseID(id.String()); err != nil {
		return Caller{}, err
	}
	return Caller{ID: id, Pod: pod, Via: "token", Token: true, Cluster: cluster}, nil
}
