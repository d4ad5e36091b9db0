package httpconn

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// An edge takes orders from clients only if their address is in a range that the
// configuration calls internal: a private address alone is no proof.
func TestOnlyInternalClientsMayGiveOrders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		internal *snapshot.InternalAddrs
		kept     bool
	}{
		"no ranges":     {nil, false},
		"another range": {&snapshot.InternalAddrs{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, false},
		"in a range":    {&snapshot.InternalAddrs{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan http.Header, 1)
			be := backend(t, func(_ http.ResponseWriter, q *http.Request) { got <- q.Header })
			r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)}, func(m *snapshot.HTTPManager, _ *snapshot.Snapshot) {
				m.UseRemoteAddress, m.InternalAddrs = true, c.internal
			})
			r.do(client(t, false), "GET", "/", nil, "X-Envoy-Max-Retries", "9", "X-Envoy-Internal", "true")
			h := <-got
			if kept := h.Get("X-Envoy-Max-Retries") != "" && h.Get("X-Envoy-Internal") == "true"; kept != c.kept {
				t.Errorf("orders kept: %t, want %t: %v", kept, c.kept, h)
			}
			if external := h.Get("X-Envoy-External-Address") != ""; external == c.kept {
				t.Errorf("told as external: %t", external)
			}
		})
	}
}
