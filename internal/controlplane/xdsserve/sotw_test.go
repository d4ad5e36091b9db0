package xdsserve

import "testing"

func TestSotW(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, m *mesh, c *sotwClient){
		"clusters come whole": func(t *testing.T, m *mesh, c *sotwClient) {
			m.put(TypeCluster, "a", "1", "b", "1")
			c.request(TypeCluster, "", "", "")
			r := c.want(TypeCluster, "1", "1")
			if r.GetVersionInfo() != m.sets[TypeCluster].Version() {
				t.Fatalf("version %q", r.GetVersionInfo())
			}
			c.request(TypeCluster, r.GetVersionInfo(), r.GetNonce(), "")
			m.put(TypeCluster, "b", "2")
			r = c.want(TypeCluster, "1", "2")
			c.request(TypeCluster, r.GetVersionInfo(), r.GetNonce(), "")
			m.put(TypeCluster, "a", "")
			c.want(TypeCluster, "2")
		},
		"names: only what changed": func(_ *testing.T, m *mesh, c *sotwClient) {
			m.put(TypeEndpoint, "a", "a1", "b", "b1", "c", "c1")
			c.request(TypeEndpoint, "", "", "", "a", "b")
			r := c.want(TypeEndpoint, "a1", "b1")
			c.request(TypeEndpoint, r.GetVersionInfo(), r.GetNonce(), "", "a", "b")
			m.put(TypeEndpoint, "b", "b2", "c", "c2")
			r = c.want(TypeEndpoint, "b2")
			c.request(TypeEndpoint, r.GetVersionInfo(), r.GetNonce(), "", "a", "b", "c")
			r = c.want(TypeEndpoint, "c2")
			c.request(TypeEndpoint, r.GetVersionInfo(), r.GetNonce(), "", "c")
			c.request(TypeSecret, "", "", "", "absent") // once it is answered, so is the request before
			c.want(TypeSecret)
			m.put(TypeEndpoint, "a", "a3", "c", "c3")
			c.want(TypeEndpoint, "c3")
		},
		"the same request again wants the resources again": func(_ *testing.T, m *mesh, c *sotwClient) {
			m.put(TypeEndpoint, "a", "a1")
			c.request(TypeEndpoint, "", "", "", "a")
			r := c.want(TypeEndpoint, "a1")
			c.request(TypeEndpoint, r.GetVersionInfo(), r.GetNonce(), "", "a")
			c.request(TypeEndpoint, r.GetVersionInfo(), r.GetNonce(), "", "a")
			c.want(TypeEndpoint, "a1")
		},
		"endpoints again after their cluster changed": func(_ *testing.T, m *mesh, c *sotwClient) {
			m.edit(TypeEndpoint, "a", "a1", "b", "b1")
			m.put(TypeCluster, "a", "1", "b", "1")
			c.request(TypeCluster, "", "", "")
			r := c.want(TypeCluster, "1", "1")
			c.request(TypeCluster, r.GetVersionInfo(), r.GetNonce(), "")
			c.request(TypeEndpoint, "", "", "", "a", "b")
			e := c.want(TypeEndpoint, "a1", "b1")
			c.request(TypeEndpoint, e.GetVersionInfo(), e.GetNonce(), "", "a", "b")
			m.put(TypeCluster, "a", "2")
			c.want(TypeCluster, "2", "1")
			c.want(TypeEndpoint, "a1")
		},
		"a stale nonce changes nothing": func(_ *testing.T, m *mesh, c *sotwClient) {
			m.put(TypeEndpoint, "a", "a1", "b", "b1")
			c.request(TypeEndpoint, "", "", "", "a")
			r1 := c.want(TypeEndpoint, "a1")
			c.request(TypeEndpoint, r1.GetVersionInfo(), r1.GetNonce(), "", "a")
			m.put(TypeEndpoint, "a", "a2")
			r2 := c.want(TypeEndpoint, "a2")
			c.request(TypeEndpoint, r1.GetVersionInfo(), r1.GetNonce(), "", "b") // sent before r2 was seen
			c.request(TypeEndpoint, r2.GetVersionInfo(), r2.GetNonce(), "", "a", "b")
			c.want(TypeEndpoint, "b1")
		},
		"refused": func(t *testing.T, m *mesh, c *sotwClient) {
			m.put(TypeCluster, "a", "1")
			c.request(TypeCluster, "", "", "")
			r := c.want(TypeCluster, "1")
			c.request(TypeCluster, "", r.GetNonce(), "bad cluster")
			m.put(TypeListener, "l", "l1")
			c.request(TypeListener, "", "", "") // the refused cluster does not come before it
			c.want(TypeListener, "l1")
			if st := m.srv.Ledger().Sessions()[0].Types[0]; st.Refusal == nil || st.Refusal.Text != "bad cluster" {
				t.Fatalf("ledger: %+v", st)
			}
			m.put(TypeCluster, "a", "2")
			c.want(TypeCluster, "2")
		},
		"reconnect with the present version": func(_ *testing.T, m *mesh, c *sotwClient) {
			m.put(TypeCluster, "a", "1")
			c.request(TypeCluster, m.sets[TypeCluster].Version(), "", "")
			m.put(TypeListener, "l", "l1")
			c.request(TypeListener, "", "", "")
			c.want(TypeListener, "l1")
			m.put(TypeCluster, "a", "2")
			c.want(TypeCluster, "2")
		},
		"an empty set is answered": func(_ *testing.T, m *mesh, c *sotwClient) {
			m.put(TypeCluster, "a", "1")
			c.request(TypeListener, "", "", "")
			c.want(TypeListener)
			c.request(TypeRoute, "", "", "", "absent")
			c.want(TypeRoute)
		},
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t, Inputs{}, nil)
			run(t, m, m.connectSotW(t, "node"))
		})
	}
}
