package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/identity"
)

// Names of the workload's own secrets, as the control plane's configuration has them.
const (
	secretCert  = "default"
	secretRoots = "ROOTCA"
	secretType  = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// secrets serves the workload's certificate and roots (SDS, state of the world).
// Envoy opens a stream for each secret.
type secrets struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	log *slog.Logger

	mu      sync.Mutex
	version string // "" before the first certificate
	byName  map[string]*anypb.Any
	changed chan struct{} // closed, and replaced, with each certificate
}

func newSecrets(log *slog.Logger) *secrets {
	return &secrets{log: log, byName: map[string]*anypb.Any{}, changed: make(chan struct{})}
}

// set replaces both secrets.
func (s *secrets) set(w *identity.Workload) error {
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	byName := map[string]*anypb.Any{}
	for _, m := range []*tlsv3.Secret{
		{Name: secretCert, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(w.ChainPEM), PrivateKey: inline(w.KeyPEM),
		}}},
		{Name: secretRoots, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(w.RootsPEM)}}},
	} {
		a, err := anypb.New(m)
		if err != nil {
			return fmt.Errorf("encode secret %s: %w", m.GetName(), err)
		}
		byName[m.GetName()] = a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version, s.byName = w.Cert.Leaf.SerialNumber.Text(16), byName
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *secrets) have() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version != ""
}

// answer holds what is asked for, nil when there is nothing yet. Whoever waits for
// more waits for changed.
func (s *secrets) answer(names []string) (r *discoveryv3.DiscoveryResponse, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r = &discoveryv3.DiscoveryResponse{VersionInfo: s.version, TypeUrl: secretType}
	for _, n := range names {
		if a := s.byName[n]; a != nil {
			r.Resources = append(r.Resources, a)
		}
	}
	if len(r.GetResources()) == 0 {
		r = nil
	}
	return r, s.changed
}

// StreamSecrets implements the service.
func (s *secrets) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	requests, failed := make(chan *discoveryv3.DiscoveryRequest), make(chan error, 1)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	var names []string
	var sent string // version that the stream has
	var changed <-chan struct{}
	for nonce := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case r := <-requests:
			if e := r.GetErrorDetail(); e != nil {
				s.log.ErrorContext(ctx, "Envoy has refused the workload's certificate", "secrets", r.GetResourceNames(), "err", e.GetMessage())
			}
			if slices.Equal(r.GetResourceNames(), names) {
				continue // an acknowledgement, or a refusal: the same would be refused again
			}
			if names, sent = r.GetResourceNames(), ""; slices.ContainsFunc(names, func(n string) bool { return n != secretCert && n != secretRoots }) {
				return status.Errorf(codes.NotFound, "the agent has the secrets %s and %s, not %q", secretCert, secretRoots, names)
			}
		case <-changed:
		}
		var answer *discoveryv3.DiscoveryResponse
		answer, changed = s.answer(names)
		if answer == nil || answer.GetVersionInfo() == sent {
			continue
		}
		nonce++
		sent, answer.Nonce = answer.GetVersionInfo(), strconv.Itoa(nonce)
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}
