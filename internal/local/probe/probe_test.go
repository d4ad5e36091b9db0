package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshctl/meshctl/internal/local/probe"
)

// target is a container whose network is ours.
func target(port int) probe.Target {
	return probe.Target{
		IP: netip.MustParseAddr("127.0.0.1"), Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}},
		Dial: (&net.Dialer{}).DialContext,
		Exec: func(_ context.Context, argv []string) error {
			if argv[0] == "false" {
				return errors.New("exited with code 1")
			}
			return nil
		},
	}
}

func portOf(t *testing.T, a net.Addr) int {
	t.Helper()
	return a.(*net.TCPAddr).Port
}

func TestProbes(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, "/bad", http.StatusFound)
		case r.URL.Path != "/ok" || r.Header.Get("X-Key") != "v" || r.Host != "shop":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	g := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(g, checks)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(ln) }()
	defer g.Stop()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closedPort := portOf(t, closed.Addr())
	closed.Close()
	headers := []corev1.HTTPHeader{{Name: "X-Key", Value: "v"}, {Name: "Host", Value: "shop"}}
	grpcPort := int32(portOf(t, ln.Addr()))
	cases := map[string]struct {
		h    corev1.ProbeHandler
		want string // part of the error, "" for healthy
	}{
		"http":          {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "ok", Port: intstr.FromString("web"), HTTPHeaders: headers}}, ""},
		"http bad":      {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/bad", Port: intstr.FromString("web")}}, "GET /bad: status 503"},
		"http redirect": {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/redirect", Port: intstr.FromString("web")}}, ""},
		"unknown port":  {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("admin")}}, `probe port "admin"`},
		"tcp":           {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("web")}}, ""},
		"tcp refused":   {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(closedPort)}}, "connection refused"},
		"grpc":          {corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort}}, ""},
		"grpc down":     {corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort, Service: new("down")}}, "NOT_SERVING"},
		"exec":          {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}, ""},
		"exec bad":      {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}, "code 1"},
		"nothing":       {corev1.ProbeHandler{}, "want httpGet, tcpSocket, grpc or exec"},
	}
	port, err := strconv.Atoi(strings.TrimPrefix(web.URL, "http://127.0.0.1:"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range cases {
		err := probe.Run(t.Context(), &corev1.Probe{ProbeHandler: tc.h, TimeoutSeconds: 5}, target(port))
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestWatchTellsChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}, PeriodSeconds: 1, FailureThreshold: 2}
		results := []bool{false, true, true, false, true, false, false, false, true}
		tg := target(0)
		tg.Exec = func(context.Context, []string) error {
			asked++
			if results[asked-1] {
				return nil
			}
			return errors.New("no")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var seen []string
		probe.Watch(ctx, p, tg, func(healthy bool, _ error) {
			seen = append(seen, fmt.Sprint(asked, healthy))
			if asked == len(results) {
				cancel()
			}
		})
		if want := []string{"2 true", "7 false", "9 true"}; !slices.Equal(seen, want) {
			t.Errorf("told %v, want %v", seen, want)
		}
	})
}
