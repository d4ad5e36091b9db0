package proxyconfig_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// envoyConfig has something for every subcommand to show.
const envoyConfig = `{
 "node": {"id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local", "cluster": "web.shop", "metadata": {"ISTIO_VERSION": "1.31.0"}},
 ` + stockenvoy.Admin + `,
 "static_resources": {
  "clusters": [{"name": "outbound|80|v1|cart.shop.svc.cluster.local", "type": "STATIC", "connect_timeout": "1s",
    "load_assignment": {"cluster_name": "outbound|80|v1|cart.shop.svc.cluster.local", "endpoints": [{"lb_endpoints": [
      {"endpoint": {"address": {"socket_address": {"address": "10.0.0.2", "port_value": 8080}}}}]}]}}],
  "listeners": [{"name": "web", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
      "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
      "stat_prefix": "x", "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
      "route_config": {"name": "80", "virtual_hosts": [{"name": "cart", "domains": ["cart"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "outbound|80|v1|cart.shop.svc.cluster.local"}}]}]}}}]}]}]}
}`

// TestDumpOfAStockEnvoy: what a stock Envoy says of itself is shown as what the
// native proxy says.
func TestDumpOfAStockEnvoy(t *testing.T) {
	t.Parallel()
	stockenvoy.Find(t)
	e := stockenvoy.Start(t, envoyConfig)
	dir := t.TempDir()
	for name, path := range map[string]string{"config.json": "/config_dump", "hosts.json": "/clusters?format=json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(e.Get(path)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ command, file, want string }{
		{"cluster", "config.json", "cart.shop.svc.cluster.local"},
		{"listener", "config.json", "127.0.0.1"},
		{"route", "config.json", "cart"},
		{"endpoint", "hosts.json", "10.0.0.2:8080"},
		{"bootstrap -o short", "config.json", "web-1.shop"},
		{"all", "config.json", "cart.shop.svc.cluster.local"},
	} {
		var out, talk bytes.Buffer
		io := &stdio.Streams{In: strings.NewReader(""), Out: &out, Err: &talk}
		cmd := proxyconfig.NewCmd(&env.Env{IO: io, Now: time.Now, Getenv: func(string) string { return "" }})
		cmd.SetArgs(append(strings.Fields(c.command), "-f", filepath.Join(dir, c.file)))
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		if err := cmd.ExecuteContext(context.Background()); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %v\n%s%s", c.command, err, out.String(), talk.String())
		}
	}
}
