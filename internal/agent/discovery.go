package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/meshctl/meshctl/internal/identity"
)

// discovery connects to the control plane.
type discovery struct {
	s      Settings
	keeper *identity.Keeper
}

// readRoots reads the certificates that the control plane is checked against.
func readRoots(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the mesh's root certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read the mesh's root certificate: no certificate in %s", file)
	}
	return pool, nil
}

// control marks a socket, so that capture leaves it alone.
func (d *discovery) control(_, _ string, c syscall.RawConn) error {
	if d.s.Mark == 0 {
		return nil
	}
	var serr error
	if err := c.Control(func(fd uintptr) {
		serr = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, d.s.Mark)
	}); err != nil {
		return err
	}
	if serr != nil {
		return fmt.Errorf("mark socket: %w", serr)
	}
	return nil
}

// serverName is what the control plane's certificate must say.
func (s Settings) serverName(addr string) string {
	if s.ServerName != "" {
		return s.ServerName
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return discoveryName
	}
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return discoveryName
	}
	return strings.TrimSuffix(host, ".")
}

// tlsConfig checks the control plane against the roots that the file has at the time
// of the handshake: roots are rotated while we run.
func (d *discovery) tlsConfig(addr string) *tls.Config {
	return &tls.Config{
		ServerName: d.s.serverName(addr), MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return d.shown(), nil },
		InsecureSkipVerify:   true, // VerifyConnection does it, with roots of now
		VerifyConnection: func(cs tls.ConnectionState) error {
			roots, err := readRoots(d.s.RootCertFile)
			if err != nil {
				return err
			}
			if len(cs.PeerCertificates) == 0 {
				return errors.New("the control plane has no certificate")
			}
			between := x509.NewCertPool()
			for _, c := range cs.PeerCertificates[1:] {
				between.AddCert(c)
			}
			_, err = cs.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: roots, Intermediates: between, DNSName: cs.ServerName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			return err
		},
	}
}

// shown is the certificate that the control plane gets to see: the workload's where it
// is what proves who we are, and none beside a token. One that has expired, or is of an
// authority that is gone, would end the handshake, and without a connection there is no
// other one to be had.
func (d *discovery) shown() *tls.Certificate {
	if d.keeper != nil {
		if token, err := d.proof(); err == nil && token == "" {
			if w := d.keeper.Current(); w != nil {
				return w.Cert
			}
		}
	}
	return &tls.Certificate{}
}

func (d *discovery) dial(addr string) (*grpc.ClientConn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: d.control}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(d.tlsConfig(addr))),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", d.s.Hosts.Address(addr))
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the control plane at %s: %w", addr, err)
	}
	return conn, nil
}

// credentials adds the service account's token to a call, read anew each time.
func (d *discovery) credentials(ctx context.Context) (context.Context, error) {
	file, err := d.proof()
	if err != nil || file == "" {
		return ctx, err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	return metadata.AppendToOutgoingContext(ctx,
		"authorization", "Bearer "+strings.TrimSpace(string(b)), identity.MetadataCluster, d.s.Cluster), nil
}

// signer asks for certificates over a connection of its own each time: with the
// certificate of now, if there is one. A connection that was kept would, after an
// outage, make us wait for its own pauses, which grow to minutes.
type signer struct{ d *discovery }

// SignCSR implements identity.Signer.
func (s signer) SignCSR(ctx context.Context, csr []byte, ttl time.Duration) ([]string, error) {
	token, err := s.d.proof()
	if err != nil {
		return nil, err
	}
	conn, err := s.d.dial(s.d.s.CAAddress)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return identity.Client{Conn: conn, TokenFile: token, Cluster: s.d.s.Cluster}.SignCSR(ctx, csr, ttl)
}
