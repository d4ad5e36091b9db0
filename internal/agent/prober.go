package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// Prober is a question that the kubelet would have asked the application: it asks
// the agent now, which needs no certificate to ask on. Injection writes them.
type Prober struct {
	HTTPGet        *HTTPProbe `json:"httpGet"`
	TCPSocket      *TCPProbe  `json:"tcpSocket"`
	GRPC           *GRPCProbe `json:"grpc"`
	TimeoutSeconds int        `json:"timeoutSeconds"`

	hook bool // of the container's life: it may take as long as it needs
}

// HTTPProbe is Kubernetes' HTTPGetAction with its port as a number.
type HTTPProbe struct {
	Path    string       `json:"path"`
	Port    uint16       `json:"port"`
	Scheme  string       `json:"scheme"`
	Headers []HTTPHeader `json:"httpHeaders"`
}

// HTTPHeader is one header of an HTTPProbe.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPProbe asks whether a port is open.
type TCPProbe struct {
	Port uint16 `json:"port"`
}

// GRPCProbe asks grpc.health.v1.
type GRPCProbe struct {
	Port    uint16 `json:"port"`
	Service string `json:"service"`
}

// Bounds of what injection may have written, and of what an application may answer.
const (
	maxProbers     = 256
	maxProbeBody   = 10 << 10
	maxProbeTime   = 300 // seconds
	probeRedirects = 10
)

// probers reads ISTIO_KUBE_APP_PROBERS.
func (l *loader) probers() {
	const name = "ISTIO_KUBE_APP_PROBERS"
	raw := l.getenv(name)
	if raw == "" {
		return
	}
	all := map[string]Prober{}
	if err := json.Unmarshal([]byte(raw), &all); err != nil {
		l.fail("%s: %v", name, err)
		return
	}
	if len(all) > maxProbers {
		l.fail("%s: %d probes, at most %d are served", name, len(all), maxProbers)
		return
	}
	for path, p := range all {
		if err := p.check(path); err != nil {
			l.fail("%s: %s: %v", name, path, err)
			return
		}
		p.hook = strings.HasPrefix(path, "/app-lifecycle/")
		all[path] = p
	}
	l.s.Probers = all
}

func (p Prober) check(path string) error {
	kind := strings.Split(path, "/")
	if len(kind) != 4 || kind[1] != "app-health" && kind[1] != "app-lifecycle" || strings.ContainsAny(path, " {}%?#") {
		return errors.New("the path is not /app-health/CONTAINER/NAME or /app-lifecycle/CONTAINER/NAME")
	}
	var ports []uint16
	if h := p.HTTPGet; h != nil {
		ports = append(ports, h.Port)
		if s := strings.ToUpper(h.Scheme); s != "" && s != "HTTP" && s != "HTTPS" {
			return fmt.Errorf("scheme %q is neither HTTP nor HTTPS", h.Scheme)
		}
	}
	if p.TCPSocket != nil {
		ports = append(ports, p.TCPSocket.Port)
	}
	if p.GRPC != nil {
		ports = append(ports, p.GRPC.Port)
	}
	if len(ports) != 1 || ports[0] == 0 {
		return errors.New("want exactly one of httpGet, tcpSocket and grpc, with a port")
	}
	return nil
}

func (p Prober) timeout() time.Duration {
	if p.hook {
		return maxProbeTime * time.Second
	}
	return time.Duration(min(max(p.TimeoutSeconds, 1), maxProbeTime)) * time.Second
}

// handler answers with what the application answers, or 500 and the reason.
func (p Prober) handler(self []netip.Addr) http.Handler {
	host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if len(self) > 0 {
		host = self[0]
	}
	d := probeDialer(host)
	var client *http.Client
	if p.HTTPGet != nil {
		client = p.HTTPGet.client(d)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), p.timeout())
		defer cancel()
		var err error
		switch {
		case p.HTTPGet != nil:
			err = p.HTTPGet.ask(ctx, client, host, r, w)
		case p.TCPSocket != nil:
			err = dialOnce(ctx, d, netip.AddrPortFrom(host, p.TCPSocket.Port))
		default:
			err = p.GRPC.ask(ctx, d, netip.AddrPortFrom(host, p.GRPC.Port))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// probeDialer reaches the application at the pod's own address, where it may listen
// alone, from the address that capture lets pass: the sidecar's own connections to
// this pod are otherwise a call through the mesh, and come back as one.
func probeDialer(host netip.Addr) *net.Dialer {
	d := &net.Dialer{}
	if host.Is4() {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}
		return d
	}
	// The IPv6 one is there only where capture has added it.
	d.Control = func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			from := &unix.SockaddrInet6{}
			from.Addr[15] = 6
			_ = unix.Bind(int(fd), from)
		})
	}
	return d
}

func dialOnce(ctx context.Context, d *net.Dialer, addr netip.AddrPort) error {
	c, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	return c.Close()
}

func (h *HTTPProbe) client(d *net.Dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: d.DialContext, DisableKeepAlives: true, DisableCompression: true,
			// As the kubelet: a probe asks whether it works, not who it is.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Hostname() != via[0].URL.Hostname() || len(via) >= probeRedirects {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// request makes the question.
func (h *HTTPProbe) request(ctx context.Context, host string) (*http.Request, error) {
	scheme := "http"
	if strings.EqualFold(h.Scheme, "https") {
		scheme = "https"
	}
	url := scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(h.Port))) + "/" + strings.TrimPrefix(h.Path, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	for _, x := range h.Headers {
		if strings.EqualFold(x.Name, "host") {
			req.Host = x.Value
			continue
		}
		req.Header.Set(x.Name, x.Value)
	}
	return req, nil
}

func (h *HTTPProbe) ask(ctx context.Context, client *http.Client, host netip.Addr, from *http.Request, to http.ResponseWriter) error {
	req, err := h.request(ctx, host.String())
	if err != nil {
		return err
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", from.UserAgent())
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	to.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	to.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(to, io.LimitReader(resp.Body, maxProbeBody)) // the kubelet has what it needs
	return nil
}

func (g *GRPCProbe) ask(ctx context.Context, d *net.Dialer, addr netip.AddrPort) error {
	conn, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) { return d.DialContext(ctx, "tcp", a) }))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	r, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: g.Service})
	if err != nil {
		return err
	}
	if s := r.GetStatus(); s != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("service %q is %s", g.Service, s)
	}
	return nil
}
