package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/agent/envoy"
	"github.com/meshctl/meshctl/internal/machine"
)

// Settings are what a sidecar is told by its environment. The names are those
// that injection writes (ISTIO_META_*, POD_*), with MESH_* for what is ours.
type Settings struct {
	Role   string // sidecar or router
	Domain string // DNS domain, e.g. default.svc.cluster.local

	PodName, Namespace, ServiceAccount, NodeName string
	InstanceIPs                                  []netip.Addr
	Workload, Owner, Cluster, Network, MeshID    string
	Interception                                 string // REDIRECT, TPROXY, NONE
	Labels, Annotations                          map[string]string
	PodPorts                                     json.RawMessage
	AppContainers                                string
	TrustDomain                                  string
	// ProxyConfig is PROXY_CONFIG as it came, for the control plane.
	ProxyConfig json.RawMessage
	// Extra is further metadata for the control plane, from ISTIO_META_*.
	Extra map[string]string
	// Bound is the loopback network on which the proxy listens itself, without
	// capture; the control plane reads it (mesh.ParseBound). "": none.
	Bound string

	Discovery    string // host:port of xDS, TLS
	CAAddress    string // host:port of the certificate authority; mostly the same
	ServerName   string // in the control plane's certificate; empty: the host of the address
	TokenFile    string
	RootCertFile string
	CertTTL      time.Duration

	// DataPlane is native or envoy. For an Envoy: EnvoyProgram is its path, "" where
	// images or PATH have it; EnvoyDir a folder for its files, "" a temporary one.
	DataPlane              string
	EnvoyProgram, EnvoyDir string
	// Stats of Envoy's own that are kept beside the usual ones.
	Stats envoy.Stats
	// ListenerDrain is how long an Envoy lets connections live whose listener has
	// changed or is drained (drainDuration).
	ListenerDrain time.Duration

	Concurrency int
	Mark        int // socket mark that exempts the proxy from capture; 0: none
	DNSCapture  bool
	DNSUpstream []string

	AdminAddr, StatusAddr, HealthAddr, PrometheusAddr, DNSAddr netip.AddrPort

	DrainDuration         time.Duration // terminationDrainDuration
	ExitOnZeroConnections bool
	MinimumDrain          time.Duration

	// Scrape is where the application serves its own metrics; Port 0: it does not.
	Scrape ScrapeTarget
	// Machine is the folder with the files of a machine outside of a cluster; "" in a pod.
	Machine string
	// Hosts are addresses of the control plane, over what DNS says.
	Hosts machine.Hosts
	// Health is how the workload's health is found out, nil: it is not.
	Health *HealthCheck

	// Probers are questions of the kubelet that the agent asks in its place, by path.
	Probers map[string]Prober

	LogLevel        string // of the data plane
	ComponentLevels map[string]string
	AgentLogLevel   string
	LogJSON         bool
	Version         string
}

// ScrapeTarget is an application's metrics endpoint, from its prometheus.io annotations.
type ScrapeTarget struct {
	Scheme, Path string
	Port         uint16
}

// proxyConfig is what the agent itself uses of PROXY_CONFIG (ProxyConfig of the
// mesh API, as JSON); the rest goes to the control plane untouched.
type proxyConfig struct {
	DiscoveryAddress         string            `json:"discoveryAddress"`
	Concurrency              *int              `json:"concurrency"`
	TerminationDrainDuration string            `json:"terminationDrainDuration"`
	DrainDuration            string            `json:"drainDuration"`
	ProxyAdminPort           int               `json:"proxyAdminPort"`
	StatusPort               int               `json:"statusPort"`
	ProxyMetadata            map[string]string `json:"proxyMetadata"`
	ProxyStatsMatcher        struct {
		InclusionPrefixes []string `json:"inclusionPrefixes"`
		InclusionSuffixes []string `json:"inclusionSuffixes"`
		InclusionRegexps  []string `json:"inclusionRegexps"`
	} `json:"proxyStatsMatcher"`
	ReadinessProbe *HealthCheck `json:"readinessProbe"`
}

// LoadSettings reads the environment by getenv. args are the program's
// arguments: "proxy sidecar|router [--domain D]".
func LoadSettings(args []string, getenv func(string) string, readFile func(string) ([]byte, error)) (Settings, error) {
	s := Settings{
		CertTTL: 24 * time.Hour, DrainDuration: 5 * time.Second, MinimumDrain: 5 * time.Second,
		Concurrency: min(2, runtime.NumCPU()), TrustDomain: "cluster.local", Interception: "REDIRECT", DataPlane: planeNative, ListenerDrain: 45 * time.Second,
		AdminAddr:      netip.MustParseAddrPort("127.0.0.1:15000"),
		StatusAddr:     netip.MustParseAddrPort("0.0.0.0:15020"),
		HealthAddr:     netip.MustParseAddrPort("0.0.0.0:15021"),
		PrometheusAddr: netip.MustParseAddrPort("0.0.0.0:15090"),
		DNSAddr:        netip.MustParseAddrPort("127.0.0.1:15053"),
	}
	l := loader{s: &s, getenv: getenv, readFile: readFile}
	l.args(args)
	l.config()
	l.identity()
	l.pod()
	l.behaviour()
	l.ownAddress()
	l.ipv6()
	l.check()
	return s, errors.Join(l.errs...)
}

type loader struct {
	s        *Settings
	getenv   func(string) string
	readFile func(string) ([]byte, error)
	errs     []error
}

func (l *loader) fail(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

func (l *loader) str(dst *string, name string) {
	if v := l.getenv(name); v != "" {
		*dst = v
	}
}

func (l *loader) duration(dst *time.Duration, name, value string) {
	if value == "" {
		return
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		l.fail("%s: %q is not a duration such as 5s", name, value)
		return
	}
	*dst = d
}

func (l *loader) boolean(dst *bool, name string) {
	v := l.getenv(name)
	if v == "" {
		return
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		l.fail("%s: %q is not true or false", name, v)
		return
	}
	*dst = b
}

func (l *loader) integer(dst *int, name string, lo, hi int) {
	v := l.getenv(name)
	if v == "" {
		return
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < lo || n > hi {
		l.fail("%s: %q is not a number from %d to %d", name, v, lo, hi)
		return
	}
	*dst = n
}

func (l *loader) addr(dst *netip.AddrPort, name string) {
	v := l.getenv(name)
	if v == "" {
		return
	}
	a, err := netip.ParseAddrPort(v)
	if err != nil {
		l.fail("%s: %q is not an address:port", name, v)
		return
	}
	*dst = a
}

func (l *loader) config() {
	raw := l.getenv("PROXY_CONFIG")
	if raw == "" {
		return
	}
	var c proxyConfig
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		l.fail("PROXY_CONFIG: %v", err)
		return
	}
	s := l.s
	s.ProxyConfig = json.RawMessage(raw)
	s.Discovery = c.DiscoveryAddress
	if s.Health = c.ReadinessProbe; s.Health != nil {
		if err := s.Health.check(); err != nil {
			l.fail("PROXY_CONFIG: readinessProbe: %v", err)
		}
	}
	if c.Concurrency != nil {
		switch n := *c.Concurrency; {
		case n == 0:
			s.Concurrency = runtime.NumCPU()
		case n < 0 || n > 256:
			l.fail("PROXY_CONFIG: concurrency %d is not from 0 to 256", n)
		default:
			s.Concurrency = n
		}
	}
	l.duration(&s.DrainDuration, "PROXY_CONFIG: terminationDrainDuration", c.TerminationDrainDuration)
	l.duration(&s.ListenerDrain, "PROXY_CONFIG: drainDuration", c.DrainDuration)
	m := c.ProxyStatsMatcher
	s.Stats = envoy.Stats{Prefixes: m.InclusionPrefixes, Suffixes: m.InclusionSuffixes, Regexps: m.InclusionRegexps}
	port := func(dst *netip.AddrPort, name string, p int) {
		switch {
		case p == 0:
		case p < 0 || p > 65535:
			l.fail("PROXY_CONFIG: %s %d is not a port", name, p)
		default:
			*dst = netip.AddrPortFrom(dst.Addr(), uint16(p))
		}
	}
	port(&s.AdminAddr, "proxyAdminPort", c.ProxyAdminPort)
	port(&s.StatusAddr, "statusPort", c.StatusPort)
	if len(c.ProxyMetadata) > 0 {
		outer := l.getenv
		l.getenv = func(k string) string {
			if v := outer(k); v != "" {
				return v
			}
			return c.ProxyMetadata[k]
		}
	}
}

func (l *loader) jsonMap(name string) map[string]string {
	file := l.getenv(name)
	if file == "" {
		return nil
	}
	b, err := l.readFile(file)
	if err != nil {
		l.fail("%s: %v", name, err)
		return nil
	}
	var m map[string]string
	if json.Unmarshal(b, &m) == nil {
		return m
	}
	m, err = parseDownwardAPI(string(b))
	if err != nil {
		l.fail("%s: %s: %v", name, file, err)
	}
	return m
}

// parseDownwardAPI reads the file form of the Kubernetes downward API: key="value" lines.
func parseDownwardAPI(text string) (map[string]string, error) {
	m := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("line %q is not key=\"value\"", line)
		}
		u, err := strconv.Unquote(v)
		if err != nil {
			return nil, fmt.Errorf("value of %s is not quoted", k)
		}
		m[k] = u
	}
	return m, nil
}

func (l *loader) identity() {
	s := l.s
	l.str(&s.PodName, "POD_NAME")
	l.str(&s.Namespace, "POD_NAMESPACE")
	l.str(&s.ServiceAccount, "SERVICE_ACCOUNT")
	l.str(&s.NodeName, "ISTIO_META_NODE_NAME")
	l.str(&s.NodeName, "NODE_NAME")
	l.str(&s.TrustDomain, "TRUST_DOMAIN")
	l.str(&s.Workload, "ISTIO_META_WORKLOAD_NAME")
	l.str(&s.Owner, "ISTIO_META_OWNER")
	l.str(&s.Cluster, "ISTIO_META_CLUSTER_ID")
	l.str(&s.Network, "ISTIO_META_NETWORK")
	l.str(&s.MeshID, "ISTIO_META_MESH_ID")
	l.str(&s.Interception, "ISTIO_META_INTERCEPTION_MODE")
	l.str(&s.Bound, "MESH_BOUND")
	l.str(&s.AppContainers, "ISTIO_META_APP_CONTAINERS")
	s.Labels = l.jsonMap("MESH_LABELS_FILE")
	s.Annotations = l.jsonMap("MESH_ANNOTATIONS_FILE")
	l.metadataMap(&s.Labels, machine.VarLabels)
	l.metadataMap(&s.Annotations, machine.VarAnnotations)
	if v := l.getenv("ISTIO_META_POD_PORTS"); v != "" {
		if !json.Valid([]byte(v)) {
			l.fail("ISTIO_META_POD_PORTS is not JSON")
		} else {
			s.PodPorts = json.RawMessage(v)
		}
	}
	ips := l.getenv("INSTANCE_IPS")
	if ips == "" {
		ips = l.getenv("INSTANCE_IP")
	}
	for v := range strings.SplitSeq(ips, ",") {
		if v = strings.TrimSpace(v); v == "" {
			continue
		}
		a, err := netip.ParseAddr(v)
		if err != nil {
			l.fail("INSTANCE_IP: %q is not an address", v)
			continue
		}
		s.InstanceIPs = append(s.InstanceIPs, a)
	}
}

func (l *loader) behaviour() {
	s := l.s
	l.str(&s.Discovery, "MESH_DISCOVERY_ADDRESS")
	l.str(&s.DataPlane, "MESH_DATAPLANE")
	if s.DataPlane != planeNative && s.DataPlane != planeEnvoy {
		l.fail("MESH_DATAPLANE: %q is not %s or %s", s.DataPlane, planeNative, planeEnvoy)
	}
	for annotation, list := range map[string]*[]string{
		"sidecar.istio.io/statsInclusionPrefixes": &s.Stats.Prefixes,
		"sidecar.istio.io/statsInclusionSuffixes": &s.Stats.Suffixes,
		"sidecar.istio.io/statsInclusionRegexps":  &s.Stats.Regexps,
	} {
		for v := range strings.SplitSeq(s.Annotations[annotation], ",") {
			if v != "" {
				*list = append(*list, v)
			}
		}
	}
	l.str(&s.EnvoyProgram, "MESH_ENVOY")
	l.str(&s.EnvoyDir, "MESH_ENVOY_DIR")
	l.duration(&s.CertTTL, "SECRET_TTL", l.getenv("SECRET_TTL"))
	l.integer(&s.Mark, "MESH_SO_MARK", 0, 1<<31-1)
	l.integer(&s.Concurrency, "MESH_CONCURRENCY", 1, 256)
	l.boolean(&s.DNSCapture, "ISTIO_META_DNS_CAPTURE")
	l.boolean(&s.ExitOnZeroConnections, "EXIT_ON_ZERO_ACTIVE_CONNECTIONS")
	l.duration(&s.MinimumDrain, "MINIMUM_DRAIN_DURATION", l.getenv("MINIMUM_DRAIN_DURATION"))
	l.str(&s.LogLevel, "MESH_LOG_LEVEL")
	l.addr(&s.AdminAddr, "MESH_ADMIN_ADDR")
	l.addr(&s.StatusAddr, "MESH_STATUS_ADDR")
	l.addr(&s.HealthAddr, "MESH_HEALTH_ADDR")
	l.addr(&s.PrometheusAddr, "MESH_PROMETHEUS_ADDR")
	l.addr(&s.DNSAddr, "MESH_DNS_ADDR")
	upstreams := strings.Split(l.getenv("MESH_DNS_UPSTREAMS"), ",")
	if upstreams[0] == "" && s.DNSCapture {
		upstreams = l.nameservers()
	}
	for _, u := range upstreams {
		if u = strings.TrimSpace(u); u == "" {
			continue
		}
		if a, err := netip.ParseAddr(u); err == nil {
			u = netip.AddrPortFrom(a, 53).String()
		}
		s.DNSUpstream = append(s.DNSUpstream, u)
	}
	l.scrape()
	l.probers()
}

// scrape reads ISTIO_PROMETHEUS_ANNOTATIONS: {"scrape":"true","path":"","port":"9090"}.
func (l *loader) scrape() {
	raw := l.getenv("ISTIO_PROMETHEUS_ANNOTATIONS")
	if raw == "" {
		return
	}
	var a struct{ Scrape, Scheme, Path, Port string }
	if err := json.Unmarshal([]byte(raw), &a); err != nil {
		l.fail("ISTIO_PROMETHEUS_ANNOTATIONS: %v", err)
		return
	}
	if a.Scrape != "" && a.Scrape != "true" {
		return
	}
	t := ScrapeTarget{Scheme: "http", Path: "/metrics", Port: 80}
	if a.Scheme != "" {
		t.Scheme = a.Scheme
	}
	if a.Path != "" {
		t.Path = "/" + strings.TrimPrefix(a.Path, "/")
	}
	if a.Port != "" {
		n, err := strconv.ParseUint(a.Port, 10, 16)
		if err != nil || n == 0 {
			l.fail("ISTIO_PROMETHEUS_ANNOTATIONS: %q is not a port", a.Port)
			return
		}
		t.Port = uint16(n)
	}
	l.s.Scrape = t
}

func (l *loader) check() {
	s := l.s
	need := func(v, name string) {
		if v == "" {
			l.fail("%s is not set", name)
		}
	}
	need(s.PodName, "POD_NAME")
	need(s.Namespace, "POD_NAMESPACE")
	need(s.Discovery, "MESH_DISCOVERY_ADDRESS")
	need(s.RootCertFile, "MESH_ROOT_CERT_FILE")
	if s.CAAddress == "" {
		s.CAAddress = s.Discovery
	}
	if len(s.InstanceIPs) == 0 {
		l.fail("INSTANCE_IP is not set")
	}
	if s.ServiceAccount == "" {
		s.ServiceAccount = "default"
	}
	if s.Domain == "" {
		s.Domain = s.Namespace + ".svc.cluster.local"
	}
	if s.Cluster == "" {
		s.Cluster = "Kubernetes"
	}
}

// Environ is LoadSettings on the process's own environment.
func Environ(args []string) (Settings, error) { return LoadSettings(args, os.Getenv, os.ReadFile) }
