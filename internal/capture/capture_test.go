package capture_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/meshctl/meshctl/internal/capture"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// Each case is a Config; its rules are kept as iptables text in testdata.
// UPDATE_GOLDEN=1 rewrites the files.
func TestIptablesText(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*capture.Config){
		"defaults": func(*capture.Config) {},
		"mark": func(c *capture.Config) {
			c.ProxyUIDs, c.ProxyGIDs, c.ProxyMark = nil, nil, 1337
		},
		"dns": func(c *capture.Config) {
			c.DNSCapture = true
			c.Nameservers = []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00::a")}
			c.IPv6 = true
		},
		"dns-any-server": func(c *capture.Config) { c.DNSCapture = true },
		"selected": func(c *capture.Config) {
			c.IncludeOutboundRanges = capture.Ranges{List: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8")}}
			c.ExcludeOutboundRanges = []netip.Prefix{prefix("10.1.2.3/16")}
			c.IncludeOutboundPorts = []uint16{443}
			c.ExcludeOutboundPorts = []uint16{3306, 6379}
			c.IncludeInboundPorts = capture.Ports{List: []uint16{80, 8080}}
			c.ExcludeInboundPorts = []uint16{15021, 22}
			c.ExcludeInterfaces = []string{"docker0"}
			c.IPv6 = true
		},
		"inbound-off": func(c *capture.Config) { c.IncludeInboundPorts = capture.Ports{} },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := capture.Default()
			change(&c)
			tables, err := capture.Tables(c)
			if err != nil {
				t.Fatal(err)
			}
			got := txtar.Archive{Files: []txtar.File{
				{Name: "v4.rules", Data: []byte(capture.RestoreText(tables, capture.IPv4))},
				{Name: "v6.rules", Data: []byte(capture.RestoreText(tables, capture.IPv6))},
				{Name: "v4.cleanup", Data: []byte(capture.CleanupText(tables, capture.IPv4))},
			}}
			path := filepath.Join("testdata", name+".txtar")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(path, txtar.Format(&got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(txtar.Format(&got))); diff != "" {
				t.Errorf("rules changed (-want +got); UPDATE_GOLDEN=1 rewrites:\n%s", diff)
			}
		})
	}
}

func TestNoRulesForModeNone(t *testing.T) {
	t.Parallel()
	c := capture.Default()
	c.Mode = capture.None
	tables, err := capture.Tables(c)
	if err != nil || len(tables) != 0 {
		t.Errorf("got %v, %v; want nothing", tables, err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*capture.Config)
		want   string
	}{
		"tproxy":    {func(c *capture.Config) { c.Mode = "TPROXY" }, `capture mode "TPROXY": supported are REDIRECT and NONE`},
		"no owner":  {func(c *capture.Config) { c.ProxyUIDs, c.ProxyGIDs = nil, nil }, "capture: nothing tells the sidecar's own traffic; set a user, group or mark"},
		"no port":   {func(c *capture.Config) { c.InboundPort = 0 }, "capture: the inbound and outbound ports must be set"},
		"dns port":  {func(c *capture.Config) { c.DNSCapture, c.DNSPort = true, 0 }, "capture: DNS capture needs a DNS port"},
		"interface": {func(c *capture.Config) { c.ExcludeInterfaces = []string{"a-name-that-is-too-long"} }, `capture: "a-name-that-is-too-long" is not the name of a network interface`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := capture.Default()
			tc.change(&c)
			_, err := capture.Tables(c)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got error %v, want %s", err, tc.want)
			}
		})
	}
}

func TestFromAnnotations(t *testing.T) {
	t.Parallel()
	got, wrong := capture.FromAnnotations(capture.Default(), map[string]string{
		"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8, fd00::/8",
		"traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.1.2.3/16",
		"traffic.sidecar.istio.io/includeInboundPorts":     "80,8080,80",
		"traffic.sidecar.istio.io/excludeInboundPorts":     "22",
		"traffic.sidecar.istio.io/includeOutboundPorts":    "443",
		"traffic.sidecar.istio.io/excludeOutboundPorts":    "",
		"traffic.sidecar.istio.io/excludeInterfaces":       "docker0",
		"sidecar.istio.io/inject":                          "true",
	})
	if len(wrong) != 0 {
		t.Fatalf("refused: %v", wrong)
	}
	want := capture.Default()
	want.IncludeOutboundRanges = capture.Ranges{List: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8")}}
	want.ExcludeOutboundRanges = []netip.Prefix{prefix("10.1.0.0/16")}
	want.IncludeInboundPorts = capture.Ports{List: []uint16{80, 8080}}
	want.ExcludeInboundPorts = []uint16{22, 15020, 15021, 15090}
	want.IncludeOutboundPorts = []uint16{443}
	want.ExcludeInterfaces = []string{"docker0"}
	comparer := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, comparer); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestWrongAnnotationsAreNamed(t *testing.T) {
	t.Parallel()
	annotations := map[string]string{
		"traffic.sidecar.istio.io/excludeInboundPorts":     "80,http",
		"traffic.sidecar.istio.io/excludeOutboundPorts":    "0",
		"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0",
		"traffic.sidecar.istio.io/excludeOutboundIPRange":  "10.0.0.0/8",
		"sidecar.istio.io/interceptionMode":                "TPROXY",
		"istio.io/reroute-virtual-interfaces":              "tap0",
	}
	got, wrong := capture.FromAnnotations(capture.Default(), annotations)
	if len(wrong) != len(annotations) {
		t.Errorf("got %d findings for %d wrong annotations: %v", len(wrong), len(annotations), wrong)
	}
	comparer := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(capture.Default(), got, comparer); diff != "" {
		t.Errorf("a wrong annotation changed the config:\n%s", diff)
	}
}

func FuzzFromAnnotations(f *testing.F) {
	f.Add("traffic.sidecar.istio.io/excludeInboundPorts", "80,443")
	f.Add("traffic.sidecar.istio.io/includeOutboundIPRanges", "*")
	f.Add("traffic.sidecar.istio.io/excludeInterfaces", "eth0, docker0")
	f.Fuzz(func(t *testing.T, name, value string) {
		c, wrong := capture.FromAnnotations(capture.Default(), map[string]string{name: value})
		if len(wrong) > 0 {
			return
		}
		// What is accepted gives rules.
		if _, err := capture.Tables(c); err != nil {
			t.Errorf("%s=%q accepted, but: %v", name, value, err)
		}
	})
}
