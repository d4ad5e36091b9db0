// Package probe runs a container's health checks (startup, readiness, liveness)
// from inside its pod, as the kubelet does from outside: HTTP, TCP, gRPC, or a
// command.
//
// Asking from inside means that checks do not pass the sidecar, so they work
// under strict mutual TLS without rewriting them.
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Target is the container that is asked.
type Target struct {
	IP    netip.Addr
	Ports []corev1.ContainerPort
	// Dial connects from inside the pod to a literal address.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Exec runs a command in the container and returns an error when it fails.
	Exec func(ctx context.Context, argv []string) error
}

// Run asks once, within the probe's timeout. nil means healthy.
func Run(ctx context.Context, p *corev1.Probe, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout(p))
	defer cancel()
	return Do(ctx, p.ProbeHandler, t)
}

// Do asks once by the given means.
func Do(ctx context.Context, h corev1.ProbeHandler, t Target) error {
	switch {
	case h.HTTPGet != nil:
		return httpGet(ctx, h.HTTPGet, t)
	case h.TCPSocket != nil:
		return tcpSocket(ctx, h.TCPSocket, t)
	case h.GRPC != nil:
		return grpcHealth(ctx, h.GRPC, t)
	case h.Exec != nil:
		return t.Exec(ctx, h.Exec.Command)
	default:
		return errors.New("the probe says nothing to do; want httpGet, tcpSocket, grpc or exec")
	}
}

// Timeout is the probe's time limit; Kubernetes' default is one second.
func Timeout(p *corev1.Probe) time.Duration { return seconds(p.TimeoutSeconds, 1) }

// Period is the time between two probes; Kubernetes' default is ten seconds.
func Period(p *corev1.Probe) time.Duration { return seconds(p.PeriodSeconds, 10) }

// FailureThreshold is how many failures in a row count.
func FailureThreshold(p *corev1.Probe) int { return int(orDefault(p.FailureThreshold, 3)) }

// SuccessThreshold is how many successes in a row count.
func SuccessThreshold(p *corev1.Probe) int { return int(orDefault(p.SuccessThreshold, 1)) }

func seconds(n, byDefault int32) time.Duration { // n <= 0: the default
	return time.Duration(orDefault(n, byDefault)) * time.Second
}

func orDefault(n, byDefault int32) int32 {
	if n <= 0 {
		return byDefault
	}
	return n
}

func (t Target) port(p intstr.IntOrString) (int, error) {
	if p.Type == intstr.Int {
		if p.IntVal < 1 || p.IntVal > 65535 {
			return 0, fmt.Errorf("port %d is not between 1 and 65535", p.IntVal)
		}
		return int(p.IntVal), nil
	}
	for _, cp := range t.Ports {
		if cp.Name == p.StrVal {
			return int(cp.ContainerPort), nil
		}
	}
	return strconv.Atoi(p.StrVal)
}

func (t Target) address(host string, p intstr.IntOrString) (string, error) {
	port, err := t.port(p)
	if err != nil {
		return "", fmt.Errorf("probe port %q: %w", p.String(), err)
	}
	if host == "" || host == "localhost" {
		if host == "localhost" {
			host = "127.0.0.1"
		} else {
			host = t.IP.String()
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func tcpSocket(ctx context.Context, a *corev1.TCPSocketAction, t Target) error {
	addr, err := t.address(a.Host, a.Port)
	if err != nil {
		return err
	}
	c, err := t.Dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// maxProbeBody is how much of an answer is read.
const maxProbeBody = 10 << 10

func httpGet(ctx context.Context, a *corev1.HTTPGetAction, t Target) error {
	addr, err := t.address(a.Host, a.Port)
	if err != nil {
		return err
	}
	scheme := strings.ToLower(string(a.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	path := a.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+path, nil)
	if err != nil {
		return fmt.Errorf("make probe request: %w", err)
	}
	req.Header.Set("User-Agent", "kube-probe/mesh")
	for _, h := range a.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       t.Dial,
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // as the kubelet does: the pod has no name to verify
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxProbeBody)
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("GET %s: status %d", path, resp.StatusCode)
	}
	return nil
}

func grpcHealth(ctx context.Context, a *corev1.GRPCAction, t Target) error {
	addr := net.JoinHostPort(t.IP.String(), strconv.Itoa(int(a.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return t.Dial(ctx, "tcp", addr) }),
	)
	if err != nil {
		return fmt.Errorf("make gRPC client: %w", err)
	}
	defer conn.Close()
	service := ""
	if a.Service != nil {
		service = *a.Service
	}
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC health of %q is %s", service, resp.GetStatus())
	}
	return nil
}
