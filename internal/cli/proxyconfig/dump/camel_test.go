package dump

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestDumpInEitherForm: a config dump as Istio's control plane prints it, in protobuf's
// JSON names, is read as Envoy's own is.
func TestDumpInEitherForm(t *testing.T) {
	t.Parallel()
	envoy := `{"configs": [
	  {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "version_info": "1", "dynamic_active_clusters": [{"version_info": "1", "cluster":
	    {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "outbound|80||api.shop.svc.cluster.local", "type": "EDS", "connect_timeout": "10s",
	     "metadata": {"filter_metadata": {"istio": {"config": "/apis/x", "someKey": 7}}},
	     "eds_cluster_config": {"service_name": "outbound|80||api.shop.svc.cluster.local"}}}]},
	  {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{"name": "l", "active_state": {"version_info": "2", "listener":
	    {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}}}}}]},
	  {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [{"route_config":
	    {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "80", "virtual_hosts": [{"name": "api", "domains": ["api"]}]}}]}]}`
	istiod := `{"configs": [
	  {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "versionInfo": "1", "dynamicActiveClusters": [{"versionInfo": "1", "cluster":
	    {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "outbound|80||api.shop.svc.cluster.local", "type": "EDS", "connectTimeout": "10s",
	     "metadata": {"filterMetadata": {"istio": {"config": "/apis/x", "someKey": 7}}},
	     "edsClusterConfig": {"serviceName": "outbound|80||api.shop.svc.cluster.local"}}}]},
	  {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamicListeners": [{"name": "l", "activeState": {"versionInfo": "2", "listener":
	    {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l", "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}}}}}]},
	  {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamicRouteConfigs": [{"routeConfig":
	    {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "80", "virtualHosts": [{"name": "api", "domains": ["api"]}]}}]}]}`
	a, err := Parse([]byte(envoy))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse([]byte(istiod))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Sent()) != 3 || len(b.Sent()) != 3 {
		t.Fatalf("%d resources of Envoy's form, %d of the other, want 3", len(a.Sent()), len(b.Sent()))
	}
	for i := range a.Sent() {
		if x, y := plainOf(t, a.Sent()[i]), plainOf(t, b.Sent()[i]); !reflect.DeepEqual(x, y) {
			t.Errorf("resource %d: %v\nin the other form: %v", i, x, y)
		}
	}
	rows, other := a.Clusters(ClusterFilter{}), b.Clusters(ClusterFilter{})
	if len(rows) != 1 || len(other) != 1 {
		t.Fatalf("%d and %d rows", len(rows), len(other))
	}
	if rows[0].Raw, other[0].Raw = nil, nil; !reflect.DeepEqual(rows, other) {
		t.Errorf("rows: %v and %v", rows, other)
	}
}

func plainOf(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
