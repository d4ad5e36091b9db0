package dump_test

import (
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
)

// FuzzParse looks at whatever a file may hold: an error or rows, never a panic.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"configs": []}`, `{"cluster_statuses": [{"name": "a", "host_statuses": [{"address": {"pipe": {"path": "/x"}}}]}]}`,
		`{"configs": [{"@type": "t.ClustersConfigDump", "static_clusters": [{"cluster": {"name": "outbound|x||"}}]}]}`,
		`{"configs": [{"@type": "t.ListenersConfigDump", "dynamic_listeners": [{"active_state": {"listener": {"filter_chains": [{}]}}}]}]}`,
		`{"configs": [{"@type": "t.RoutesConfigDump", "static_route_configs": [{"route_config": {"virtual_hosts": [{"routes": [{}]}]}}]}]}`,
		`{"configs": [{"@type": "t.SecretsConfigDump", "static_secrets": [{"secret": {"tls_certificate": {"certificate_chain": {"inline_string": "-----BEGIN CERTIFICATE-----\n"}}}}]}]}`,
		`{"config_dump": {"config_dump": {}}}`, `[]`, ``, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := dump.Parse(data)
		if err != nil {
			return
		}
		d.Clusters(dump.ClusterFilter{})
		d.Listeners(dump.ListenerFilter{})
		d.RouteConfigs("")
		d.Endpoints(dump.EndpointFilter{})
		d.Secrets(time.Unix(0, 0))
		d.Bootstrap()
	})
}
