package identity

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	securityv1alpha1 "istio.io/api/security/v1alpha1"
)

// Service is the istio.v1.auth.IstioCertificateService: it certifies the
// authenticated caller's own identity and nothing else.
type Service struct {
	securityv1alpha1.UnimplementedIstioCertificateServiceServer
	CA     *CA
	Authn  Authenticator
	Logger *slog.Logger
}

// CreateCertificate signs the caller's key. Errors: Unauthenticated when nobody
// vouches for the caller, PermissionDenied for asking in another's name,
// InvalidArgument for a bad request.
func (s *Service) CreateCertificate(ctx context.Context, req *securityv1alpha1.IstioCertificateRequest) (*securityv1alpha1.IstioCertificateResponse, error) {
	caller, err := s.Authn.Authenticate(ctx)
	if err != nil {
		s.Logger.WarnContext(ctx, "certificate request refused", "err", err)
		return nil, status.Error(codes.Unauthenticated, "the caller could not be authenticated: present a workload certificate or a service-account token for "+TokenAudience)
	}
	for _, key := range []string{"ImpersonatedIdentity", "CertSigner"} {
		if v, ok := req.GetMetadata().GetFields()[key]; ok && v.GetStringValue() != "" {
			return nil, status.Errorf(codes.PermissionDenied, "%s is not supported", key)
		}
	}
	pub, err := ParseCSR([]byte(req.GetCsr()))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if secs := req.GetValidityDuration(); secs < 0 || secs > int64(MaxCertTTL/time.Second) {
		return nil, status.Errorf(codes.InvalidArgument, "validity of %d seconds is outside 0 to %d", secs, int64(MaxCertTTL/time.Second))
	}
	chain, err := s.CA.Sign(SignRequest{
		PublicKey: pub, URIs: []*url.URL{caller.ID.URL()},
		TTL: time.Duration(req.GetValidityDuration()) * time.Second,
	})
	if err != nil {
		s.Logger.ErrorContext(ctx, "certificate not signed", "peer", caller.ID.String(), "err", err)
		return nil, status.Error(codes.Internal, "the certificate could not be signed")
	}
	out := make([]string, len(chain))
	for i, c := range chain {
		out[i] = string(c)
	}
	s.Logger.DebugContext(ctx, "certificate issued", "peer", caller.ID.String(), "via", caller.Via)
	return &securityv1alpha1.IstioCertificateResponse{CertChain: out}, nil
}
