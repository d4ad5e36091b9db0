package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What injection writes is all that a sidecar needs: nothing of MESH_*.
var injected = map[string]string{
	"CA_ADDR": "istiod-canary.istio-system.svc:15012", "POD_NAME": "a-1", "POD_NAMESPACE": "shop", "INSTANCE_IP": "10.244.0.9",
	"INSTANCE_IPS": "10.244.0.9,fd00::9", "SERVICE_ACCOUNT": "a", "PROXY_CONFIG": `{"discoveryAddress":"istiod-canary.istio-system.svc:15012","proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}}`,
	"ISTIO_META_CLUSTER_ID": "c1", "ISTIO_META_NODE_NAME": "n1", "ISTIO_META_WORKLOAD_NAME": "a", "ISTIO_META_UNPRIVILEGED_POD": "true",
	"ISTIO_KUBE_APP_PROBERS": `{"/app-health/a/readyz":{"httpGet":{"path":"/","port":8080}}}`,
}

func podFiles() func(string) ([]byte, error) {
	return files(map[string]string{
		podTokenFile: "t", podRootFile: "r", podLabelsFile: "app=\"a\"\n", podAnnotationsFile: "x=\"y\"\n",
		resolvConf: "search shop.svc.cluster.local\nnameserver 10.96.0.10\n",
	})
}

func TestSidecarFindsItselfInAPod(t *testing.T) {
	t.Parallel()
	s, err := LoadSettings([]string{
		"proxy", "sidecar", "--domain", "shop.svc.cluster.local", "--proxyLogLevel=warning", "--proxyComponentLogLevel=upstream:debug",
		"--log_output_level=default:info,xds:debug", "--log_as_json",
	}, env(injected), podFiles())
	if err != nil {
		t.Fatal(err)
	}
	if s.TokenFile != podTokenFile || s.RootCertFile != podRootFile || s.Discovery != "istiod-canary.istio-system.svc:15012" || s.CAAddress != s.Discovery {
		t.Errorf("%+v", s)
	}
	if s.serverName(s.Discovery) != "istiod-canary.istio-system.svc" || s.serverName("10.0.0.1:15012") != discoveryName {
		t.Errorf("server name %s", s.serverName(s.Discovery))
	}
	if s.LogLevel != "warning" || s.AgentLogLevel != "info" || s.ComponentLevels["upstream"] != "debug" || !s.LogJSON || s.NodeName != "n1" {
		t.Errorf("%+v", s)
	}
	if d := cmp.Diff([]string{"10.96.0.10:53"}, s.DNSUpstream); d != "" || !s.DNSCapture {
		t.Error("name servers", d)
	}
	n, err := s.Node()
	if err != nil {
		t.Fatal(err)
	}
	m := n.GetMetadata().GetFields()
	if m["LABELS"].GetStructValue().GetFields()["app"].GetStringValue() != "a" || m["UNPRIVILEGED_POD"].GetStringValue() != "true" ||
		m["INSTANCE_IPS"].GetStringValue() != "10.244.0.9,fd00::9" ||
		m["PROXY_CONFIG"].GetStructValue().GetFields()["discoveryAddress"].GetStringValue() != s.Discovery {
		t.Errorf("metadata %v", m)
	}
}

func TestPodWithIPv6Only(t *testing.T) {
	t.Parallel()
	e := maps.Clone(injected)
	e["INSTANCE_IP"], e["INSTANCE_IPS"] = "fd00::9", "fd00::9"
	s, err := LoadSettings([]string{"proxy", "sidecar"}, env(e), podFiles())
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddrPort("[::]:15021"); s.HealthAddr != want {
		t.Errorf("readiness at %s", s.HealthAddr)
	}
}

// The pod of injected has 10.244.0.9 and fd00::9.
func TestIPv6IsWhatTheInterfacesHave(t *testing.T) {
	t.Parallel()
	const (
		lo    = "00000000000000000000000000000001 01 80 10 80       lo\n"
		local = "fe800000000000000000000000000009 02 40 20 80     eth0\n"
		own   = "fd000000000000000000000000000009 02 40 00 80     eth0\n"
	)
	for name, c := range map[string]struct {
		told, interfaces string
		ips, health      string
	}{
		"both":                    {"10.244.0.9,fd00::9", lo + local + own, "10.244.0.9 fd00::9", "[::]:15021"},
		"the kernel has none":     {"10.244.0.9,fd00::9", "", "10.244.0.9 fd00::9", "[::]:15021"}, // nothing says otherwise
		"switched off in the pod": {"10.244.0.9,fd00::9", "\n", "10.244.0.9", "0.0.0.0:15021"},
		"on loopback alone":       {"10.244.0.9,fd00::9", lo, "10.244.0.9", "0.0.0.0:15021"},
		"no address of use":       {"10.244.0.9", lo + local, "10.244.0.9", "0.0.0.0:15021"},
		"the pod was not told":    {"10.244.0.9", lo + local + own, "10.244.0.9 fd00::9", "[::]:15021"},
		"the newer one first":     {"fd00::9,10.244.0.9", lo + own, "fd00::9 10.244.0.9", "[::]:15021"},
	} {
		e := maps.Clone(injected)
		e["INSTANCE_IPS"] = c.told
		files := podFiles()
		s, err := LoadSettings([]string{"proxy", "sidecar"}, env(e), func(path string) ([]byte, error) {
			if path == interfaces6 && c.interfaces != "" {
				return []byte(c.interfaces), nil
			}
			return files(path)
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Trim(fmt.Sprint(s.InstanceIPs), "[]"); got != c.ips || s.HealthAddr.String() != c.health {
			t.Errorf("%s: %s, readiness at %s; want %s and %s", name, got, s.HealthAddr, c.ips, c.health)
		}
	}
}

func TestProbersThatNobodyWroteAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`[]`, `{"/x":{"httpGet":{"port":1}}}`, `{"/app-health/a/b":{}}`, `{"/app-health/a/b":{"httpGet":{"port":0}}}`,
		`{"/app-health/a/{b}":{"tcpSocket":{"port":1}}}`, `{"/app-health/a/b":{"httpGet":{"port":1},"grpc":{"port":2}}}`,
		`{"/app-health/a/b":{"httpGet":{"port":1,"scheme":"FTP"}}}`, `{"/quitquitquit":{"tcpSocket":{"port":1}}}`,
	} {
		e := maps.Clone(injected)
		e["ISTIO_KUBE_APP_PROBERS"] = bad
		if _, err := LoadSettings([]string{"proxy", "sidecar"}, env(e), podFiles()); err == nil {
			t.Errorf("%s accepted", bad)
		}
	}
}

func FuzzProbers(f *testing.F) {
	f.Add(`{"/app-health/a/readyz":{"httpGet":{"path":"/","port":8080,"httpHeaders":[{"name":"Host","value":"x"}]},"timeoutSeconds":3}}`)
	f.Fuzz(func(t *testing.T, text string) {
		e := maps.Clone(injected)
		e["ISTIO_KUBE_APP_PROBERS"] = text
		s, err := LoadSettings([]string{"proxy", "sidecar"}, env(e), podFiles())
		if err != nil {
			return
		}
		// What is accepted can be served beside what is served always.
		(&Status{Settings: s, Proxy: &plane{}}).mux()
	})
}
