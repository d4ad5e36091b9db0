package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen/xdsgentest"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/compile"
)

// scenario reads and joins files of testdata, with changes in YAML at the end.
func scenario(t *testing.T, extra string, files ...string) *xdsgentest.Scenario {
	t.Helper()
	var text strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join("testdata", f+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("\n---\n" + string(b))
	}
	s, err := xdsgentest.Parse(text.String() + "\n---\n" + extra)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// variant is one proxy of the matrix.
type variant struct {
	name    string
	files   []string
	extra   string
	gateway bool
}

func variants() []variant {
	out := []variant{
		{name: "everything", files: []string{"base", "virtualservices", "policies"}},
		{name: "plain", files: []string{"base"}},
		{name: "gateway", files: []string{"base", "virtualservices", "gateway"}, gateway: true},
		{name: "gateway with policies", files: []string{"base", "virtualservices", "gateway", "policies"}, gateway: true},
		{name: "own sidecar", files: []string{"base", "sidecar"}},
		{name: "registry only", files: []string{"base"}, extra: "kind: Workload\nspec: {registryOnly: true, http10: true}\n"},
		{name: "tproxy", files: []string{"base"}, extra: "kind: Workload\nspec: {interception: TPROXY}\n"},
		{name: "no capture", files: []string{"base", "sidecar"}, extra: "kind: Workload\nspec: {interception: NONE}\n"},
		{name: "explicit", files: []string{"base", "virtualservices", "policies"}, extra: "kind: Workload\nspec: {interception: NONE, bound: '127.9.3.0/24,10.0.0.0/24', httpProxy: 15007, ports: [{number: 9080, protocol: HTTP}]}\n"},
		{name: "explicit gateway", files: []string{"base", "virtualservices", "gateway"}, gateway: true, extra: "kind: Workload\nspec: {interception: NONE, bound: '127.9.3.0/24'}\n"},
		{name: "json logs", files: []string{"base"}, extra: "kind: MeshConfig\nspec: {accessLogFile: /dev/stdout, accessLogEncoding: JSON, pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}, h2UpgradePolicy: UPGRADE, inboundTrafficPolicy: {mode: LOCALHOST}}\n"},
		{name: "own log formats", files: []string{"base"}, extra: "kind: MeshConfig\nspec: {accessLogFile: /dev/stdout, accessLogFormat: '%START_TIME% %RESPONSE_CODE% %REQ(X-A)%', pathNormalization: {normalization: MERGE_SLASHES}, meshMTLS: {minProtocolVersion: TLSV1_3}, proxyHttpPort: 15080}\n"},
	}
	for _, mode := range []string{"STRICT", "PERMISSIVE", "DISABLE"} {
		out = append(out, variant{name: "mode " + mode, files: []string{"base"}, extra: "kind: PeerAuthentication\nspec: {mtls: {mode: " + mode + "}}\n"})
	}
	return out
}

func (v variant) bundle(t *testing.T, d mesh.Dialect) *xdsgentest.Bundle {
	t.Helper()
	s := scenario(t, v.extra, v.files...)
	if v.gateway {
		return s.GatewayBundle(d)
	}
	return s.SidecarBundle(d)
}

// The gateways of the matrix are gateways between networks, too: both data planes are
// shown a chain and a cluster for each service behind them.
func TestGatewaysPassOnByName(t *testing.T) {
	t.Parallel()
	const name = "outbound_.9080_._.reviews.default.svc.cluster.local"
	for _, d := range []mesh.Dialect{mesh.DialectEnvoy, mesh.DialectNative} {
		b := variant{files: []string{"base", "virtualservices", "gateway"}, gateway: true}.bundle(t, d)
		chains := 0
		for _, m := range b.Listeners {
			for _, c := range m.(*listenerv3.Listener).GetFilterChains() {
				if slices.Contains(c.GetFilterChainMatch().GetServerNames(), name) {
					chains++
				}
			}
		}
		named := func(m proto.Message) bool { return nameOf(m) == name }
		if chains != 1 || !slices.ContainsFunc(b.Clusters, named) || !slices.ContainsFunc(b.Endpoints, named) {
			t.Errorf("%s: %d chains for %s, or no cluster with endpoints", d, chains, name)
		}
	}
}

// nameOf is the name that a resource has on the wire.
func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	default:
		return ""
	}
}

func typeOf(m proto.Message) string {
	return "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
}

// refusals are what the native proxy says of resources.
func refusals(t testing.TB, b *xdsgentest.Bundle) (out []error) {
	t.Helper()
	c, err := compile.New(compile.Options{ReadFile: os.ReadFile})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range [][]proto.Message{b.Clusters, b.Endpoints, b.Routes, b.Listeners} {
		if len(l) == 0 {
			continue
		}
		u := compile.Update{TypeURL: typeOf(l[0])}
		for _, m := range l {
			body, version, err := xdsgen.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			u.Set = append(u.Set, compile.Raw{Name: nameOf(m), Version: version, Bytes: body})
		}
		for _, e := range c.Apply(u) {
			out = append(out, e)
		}
	}
	return out
}

func TestNativeProxyTakesEverything(t *testing.T) {
	t.Parallel()
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for _, err := range refusals(t, v.bundle(t, mesh.DialectNative)) {
				t.Error(err)
			}
		})
	}
}

func TestNativeProxyTakesWhateverUsersWrite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := xdsgentest.Draw(r)
		for _, b := range []*xdsgentest.Bundle{s.SidecarBundle(mesh.DialectNative), s.GatewayBundle(mesh.DialectNative)} {
			for _, err := range refusals(t, b) {
				r.Error(err)
			}
		}
	})
}
