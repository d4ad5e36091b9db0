package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// HealthCheck is readinessProbe of a ProxyConfig: how an agent finds out whether its
// workload is healthy, where no kubelet does.
type HealthCheck struct {
	InitialDelaySeconds int32 `json:"initialDelaySeconds"`
	TimeoutSeconds      int32 `json:"timeoutSeconds"`   // default 1
	PeriodSeconds       int32 `json:"periodSeconds"`    // default 10
	SuccessThreshold    int32 `json:"successThreshold"` // default 1
	FailureThreshold    int32 `json:"failureThreshold"` // default 3

	HTTPGet *struct {
		Path        string       `json:"path"`
		Host        string       `json:"host"` // default the machine's own address
		Port        uint16       `json:"port"`
		Scheme      string       `json:"scheme"`
		HTTPHeaders []HTTPHeader `json:"httpHeaders"`
	} `json:"httpGet"`
	TCPSocket *struct {
		Host string `json:"host"`
		Port uint16 `json:"port"`
	} `json:"tcpSocket"`
	GRPC *GRPCProbe `json:"grpc"`
	Exec *struct {
		Command []string `json:"command"`
	} `json:"exec"`
}

func (h *HealthCheck) check() error {
	ways := 0
	if g := h.HTTPGet; g != nil {
		ways++
		if s := strings.ToUpper(g.Scheme); s != "" && s != "HTTP" && s != "HTTPS" {
			return fmt.Errorf("scheme %q is neither HTTP nor HTTPS", g.Scheme)
		}
		if g.Port == 0 {
			return errors.New("httpGet has no port")
		}
	}
	if t := h.TCPSocket; t != nil {
		if ways++; t.Port == 0 {
			return errors.New("tcpSocket has no port")
		}
	}
	if g := h.GRPC; g != nil {
		if ways++; g.Port == 0 {
			return errors.New("grpc has no port")
		}
	}
	if e := h.Exec; e != nil {
		if ways++; len(e.Command) == 0 {
			return errors.New("exec has no command")
		}
	}
	if ways != 1 {
		return errors.New("want exactly one of httpGet, tcpSocket, grpc and exec")
	}
	return nil
}

// prober makes the question. self are the machine's addresses: a program may listen
// on the first alone.
func (h *HealthCheck) prober(self []netip.Addr) func(context.Context) error {
	own := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if len(self) > 0 {
		own = self[0]
	}
	to := func(host string) (*net.Dialer, string) {
		if host == "" || host == own.String() {
			return probeDialer(own), own.String()
		}
		return &net.Dialer{}, host
	}
	switch {
	case h.HTTPGet != nil:
		g := h.HTTPGet
		d, host := to(g.Host)
		p := &HTTPProbe{Path: g.Path, Port: g.Port, Scheme: g.Scheme, Headers: g.HTTPHeaders}
		client := p.client(d)
		return func(ctx context.Context) error { return p.succeeds(ctx, client, host) }
	case h.TCPSocket != nil:
		d, host := to(h.TCPSocket.Host)
		address := net.JoinHostPort(host, strconv.Itoa(int(h.TCPSocket.Port)))
		return func(ctx context.Context) error {
			c, err := d.DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return c.Close()
		}
	case h.GRPC != nil:
		d, _ := to("")
		return func(ctx context.Context) error { return h.GRPC.ask(ctx, d, netip.AddrPortFrom(own, h.GRPC.Port)) }
	default:
		return func(ctx context.Context) error { return succeeds(ctx, h.Exec.Command) }
	}
}

// maxSaid bounds what of an answer is told, in bytes.
const maxSaid = 256

// succeeds asks, and wants an answer from 200 to 399 as the kubelet does.
func (h *HTTPProbe) succeeds(ctx context.Context, client *http.Client, host string) error {
	req, err := h.request(ctx, host)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "meshproxy-probe")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxSaid))
	return fmt.Errorf("%s answered %s %s", req.URL, resp.Status, said(b))
}

// succeeds runs a command.
func succeeds(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second // for what it has started itself
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w %s", command[0], err, said(out))
	}
	return nil
}

func said(b []byte) string {
	return strings.ToValidUTF8(string(bytes.TrimSpace(b[:min(len(b), maxSaid)])), "")
}

// healthWatch asks again and again, and reports what changes.
type healthWatch struct {
	check  HealthCheck
	prober func(context.Context) error
	report func(healthy bool, reason string)
	log    *slog.Logger
}

func (w *healthWatch) run(ctx context.Context) error {
	seconds := func(n, least int32) time.Duration { return time.Duration(max(n, least)) * time.Second }
	period, timeout := seconds(w.check.PeriodSeconds, 1), seconds(w.check.TimeoutSeconds, 1)
	if w.check.PeriodSeconds == 0 {
		period = 10 * time.Second
	}
	good, bad := int(max(w.check.SuccessThreshold, 1)), int(w.check.FailureThreshold)
	if bad <= 0 {
		bad = 3
	}
	wait(ctx, seconds(w.check.InitialDelaySeconds, 0))
	tick := time.NewTicker(period)
	defer tick.Stop()
	var known, healthy bool
	successes, failures := 0, 0
	for ctx.Err() == nil {
		err := w.ask(ctx, timeout)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			successes, failures = successes+1, 0
			if successes >= good && (!known || !healthy) {
				known, healthy = true, true
				w.log.InfoContext(ctx, "the workload is healthy")
				w.report(true, "")
			}
		default:
			successes, failures = 0, failures+1
			if failures >= bad && (!known || healthy) {
				known, healthy = true, false
				w.log.WarnContext(ctx, "the workload is not healthy", "err", err)
				w.report(false, err.Error())
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return ctx.Err()
}

func (w *healthWatch) ask(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return w.prober(ctx)
}
