package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/internal/identity"
)

func env(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }

func files(kv map[string]string) func(string) ([]byte, error) {
	return func(n string) ([]byte, error) {
		if c, ok := kv[n]; ok {
			return []byte(c), nil
		}
		return nil, os.ErrNotExist
	}
}

var good = map[string]string{
	"POD_NAME": "reviews-v1-abc", "POD_NAMESPACE": "default", "SERVICE_ACCOUNT": "bookinfo-reviews", "INSTANCE_IP": "10.244.0.7",
	"ISTIO_META_WORKLOAD_NAME": "reviews-v1", "ISTIO_META_DNS_CAPTURE": "true", "MESH_LABELS_FILE": "labels",
	"MESH_DISCOVERY_ADDRESS": "10.244.0.1:15012", "MESH_ROOT_CERT_FILE": "root", "MESH_TOKEN_FILE": "token", "MESH_SO_MARK": "1337",
	"MESH_DNS_UPSTREAMS":           "10.96.0.10, 192.0.2.1:5353",
	"PROXY_CONFIG":                 `{"concurrency": 1, "terminationDrainDuration": "3s", "proxyMetadata": {"SECRET_TTL": "1h"}}`,
	"ISTIO_PROMETHEUS_ANNOTATIONS": `{"scrape":"true","port":"9102"}`,
}

func TestSettingsOfASidecar(t *testing.T) {
	t.Parallel()
	s, err := LoadSettings([]string{"proxy", "sidecar", "--domain", "default.svc.cluster.local"}, env(good),
		files(map[string]string{"labels": `{"app":"reviews","version":"v1"}`}))
	if err != nil {
		t.Fatal(err)
	}
	if s.NodeID() != "sidecar~10.244.0.7~reviews-v1-abc.default~default.svc.cluster.local" {
		t.Errorf("node id %s", s.NodeID())
	}
	if s.Concurrency != 1 || s.DrainDuration != 3*time.Second || s.CertTTL != time.Hour || s.Mark != 1337 || !s.DNSCapture {
		t.Errorf("%+v", s)
	}
	if d := cmp.Diff([]string{"10.96.0.10:53", "192.0.2.1:5353"}, s.DNSUpstream); d != "" {
		t.Error(d)
	}
	if s.Scrape != (ScrapeTarget{"http", "/metrics", 9102}) {
		t.Errorf("scrape %+v", s.Scrape)
	}
	n, err := s.Node()
	if err != nil {
		t.Fatal(err)
	}
	if n.GetCluster() != "reviews.default" || n.GetMetadata().GetFields()["LABELS"].GetStructValue().GetFields()["version"].GetStringValue() != "v1" {
		t.Errorf("node %v", n)
	}
	p := s.Peer()
	if p.Identity != "spiffe://cluster.local/ns/default/sa/bookinfo-reviews" || p.CanonicalName != "reviews" || p.CanonicalRevision != "v1" {
		t.Errorf("peer %+v", p)
	}
}

func TestWrongSettingsAreAllNamed(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"INSTANCE_IP": "nonsense", "MESH_SO_MARK": "-1", "PROXY_CONFIG": `{"concurrency": 1000}`, "MESH_ADMIN_ADDR": "x",
		"MINIMUM_DRAIN_DURATION": "5", "MESH_LABELS_FILE": "missing", "ISTIO_META_POD_PORTS": "[", "ISTIO_META_DNS_CAPTURE": "maybe",
		"ISTIO_PROMETHEUS_ANNOTATIONS": `{"port":"0"}`,
	}
	_, err := LoadSettings([]string{"proxy", "sidecar", "--nope", "1"}, env(bad), files(nil))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"INSTANCE_IP", "MESH_SO_MARK", "concurrency", "MESH_ADMIN_ADDR", "MINIMUM_DRAIN_DURATION",
		"MESH_LABELS_FILE", "ISTIO_META_POD_PORTS", "ISTIO_META_DNS_CAPTURE", "ISTIO_PROMETHEUS_ANNOTATIONS", "--nope",
		"POD_NAME", "POD_NAMESPACE", "MESH_DISCOVERY_ADDRESS", "MESH_ROOT_CERT_FILE",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in:\n%v", want, err)
		}
	}
	if _, err := LoadSettings([]string{"serve"}, env(good), files(nil)); err == nil {
		t.Error("unknown command accepted")
	}
}

func TestDownwardAPIFiles(t *testing.T) {
	t.Parallel()
	m, err := parseDownwardAPI("app=\"reviews\"\nnote=\"a \\\"b\\\"\\n\"\n")
	if err != nil || m["note"] != "a \"b\"\n" {
		t.Errorf("%v, %v", m, err)
	}
	for _, bad := range []string{"x", "x=y", "x=\"y"} {
		if _, err := parseDownwardAPI(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

type plane struct {
	lasting lasting
	ready   bool
	drained bool
	conns   int
}

func (p *plane) Ready() (bool, string) {
	return p.lasting.ask(func() (bool, string) {
		if p.ready {
			return true, ""
		}
		return false, "no clusters yet"
	})
}
func (p *plane) Run(context.Context) error            { return nil }
func (p *plane) SetWorkload(*identity.Workload) error { return nil }
func (p *plane) ReportHealth(bool, string)            {}
func (p *plane) Drain(bool)                           { p.drained = true }
func (p *plane) Connections() int                     { return p.conns }
func (p *plane) WriteMetrics(w io.Writer) error {
	_, err := fmt.Fprintln(w, "proxy_metric 1")
	return err
}

func get(t *testing.T, h http.Handler, method, path, from string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestReadinessStaysUntilTheEnd(t *testing.T) {
	t.Parallel()
	p := &plane{}
	s := &Status{Proxy: p, Logger: slog.New(slog.DiscardHandler), Settings: Settings{Role: "sidecar"}}
	m := s.mux()
	const near = "127.0.0.1:9"
	if w := get(t, m, "GET", "/healthz/ready", near); w.Code != 503 || !strings.Contains(w.Body.String(), "no clusters yet") {
		t.Errorf("before: %d %s", w.Code, w.Body)
	}
	p.ready = true
	if w := get(t, m, "GET", "/healthz/ready", near); w.Code != 200 {
		t.Errorf("ready: %d", w.Code)
	}
	p.ready = false // the control plane is gone
	if w := get(t, m, "GET", "/healthz/ready", near); w.Code != 200 {
		t.Errorf("control plane gone: %d", w.Code)
	}
	if w := get(t, m, "POST", "/drain", "10.0.0.9:1"); w.Code != 403 || p.drained {
		t.Errorf("drain from elsewhere: %d", w.Code)
	}
	if w := get(t, m, "GET", "/drain", near); w.Code != 405 || p.drained {
		t.Errorf("drain by GET: %d", w.Code)
	}
	if w := get(t, m, "POST", "/drain", near); w.Code != 200 || !p.drained {
		t.Errorf("drain: %d", w.Code)
	}
	if w := get(t, m, "GET", "/healthz/ready", near); w.Code != 503 {
		t.Errorf("terminating: %d", w.Code)
	}
}

func TestMetricsAreMergedAndAFailingAppDoesNotHideThem(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "app_metric 2\n") }))
	port := netip.MustParseAddrPort(strings.TrimPrefix(app.URL, "http://")).Port()
	s := &Status{Proxy: &plane{}, Logger: slog.New(slog.DiscardHandler), Settings: Settings{Scrape: ScrapeTarget{"http", "/metrics", port}}}
	if w := get(t, s.mux(), "GET", "/stats/prometheus", "10.0.0.1:1"); w.Body.String() != "proxy_metric 1\napp_metric 2\n" {
		t.Errorf("merged: %q", w.Body)
	}
	app.Close()
	s.AgentMetrics = func(io.Writer) error { return errors.New("no") }
	if w := get(t, s.mux(), "GET", "/stats/prometheus", "10.0.0.1:1"); w.Code != 200 || w.Body.String() != "proxy_metric 1\n" {
		t.Errorf("application gone: %d %q", w.Code, w.Body)
	}
}
