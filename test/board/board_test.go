package board_test

import (
	"reflect"
	"testing"

	"github.com/meshctl/meshctl/test/board"
)

// TestRead: each panel of the sample is read, with what it needs.
func TestRead(t *testing.T) {
	t.Parallel()
	queries, err := board.Read("../../samples/addons/grafana.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string][]string{
		"Requests in plain text": {"istio_requests_total": {
			"connection_security_policy", "destination_workload", "destination_workload_namespace", "reporter", "source_workload",
		}},
		"Time until proxies have a change": {"pilot_proxy_convergence_time_bucket": {"le"}},
	}
	for _, q := range queries {
		if len(q.Needs) == 0 {
			t.Errorf("%s asks for no metric: %s", q.Panel, q.Expr)
		}
		if needs, ok := want[q.Panel]; ok {
			delete(want, q.Panel)
			if !reflect.DeepEqual(q.Needs, needs) {
				t.Errorf("%s needs %v, not %v", q.Panel, q.Needs, needs)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("no panel has %v", want)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	got := board.Metrics("# TYPE a counter\na{x=\"1=2\",y=\"\\\"}\"} 3\na{z=\"\"} 1\nb 2\n")
	want := map[string][]string{"a": {"x", "y", "z"}, "b": nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
