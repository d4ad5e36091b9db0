package view

import (
	"fmt"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/mesh"
)

// View is the part of the graph from sessions to serialised resources.
type View struct {
	g *collection.Graph
	m *derive.Mesh

	sessions *collection.Input[*session]
	members  collection.Collection[*member]
	// Classes are those of the sessions that are open.
	Classes  collection.Collection[*Class]
	links    collection.Collection[*link]
	Scopes   collection.Collection[*Scope]
	Plans    collection.Collection[*Plan]
	gateways collection.Collection[*gatewayPlan]
	// Bundles are all serialised resources that any class needs.
	Bundles collection.Collection[*Bundle]
	// Findings are what generators found wrong.
	Findings collection.Collection[*derive.Finding]

	routes         collection.Collection[*routeTable]
	rules          collection.Collection[*ruleTable]
	services       collection.Collection[*serviceTable]
	demands        collection.Collection[*demand]
	namesByService *collection.Index[*derive.Name]

	publisher *publisher
	now       func() time.Time
	mu        sync.Mutex
	nextID    uint64
}

// New wires the view of a derived mesh. now tells the time of changes.
func New(g *collection.Graph, m *derive.Mesh, now func() time.Time) *View {
	v := &View{g: g, m: m, now: now}
	v.sessions = collection.NewInput[*session](g, "sessions")
	v.tables()
	v.demands = v.demandsOf()
	v.classes()
	v.scopes()
	v.plans()
	v.gatewayPlans()

	clusters := collection.Join(g, "cluster-requests",
		collection.DeriveMany(g, "sidecar-cluster-requests", v.Plans, func(_ *collection.Ctx, p *Plan) []*clusterRequest { return p.clusters }),
		collection.DeriveMany(g, "gateway-cluster-requests", v.gateways, func(_ *collection.Ctx, p *gatewayPlan) []*clusterRequest { return p.clusters }))
	loads := collection.Join(g, "load-requests",
		collection.DeriveMany(g, "sidecar-load-requests", v.Plans, func(_ *collection.Ctx, p *Plan) []*loadRequest { return p.loads }),
		collection.DeriveMany(g, "gateway-load-requests", v.gateways, func(_ *collection.Ctx, p *gatewayPlan) []*loadRequest { return p.loads }))
	hosts := collection.DeriveMany(g, "host-requests", v.Plans, func(_ *collection.Ctx, p *Plan) []*hostRequest { return p.hosts })
	routes := collection.DeriveMany(g, "route-requests", v.Plans, func(_ *collection.Ctx, p *Plan) []*routeRequest { return p.routes })

	names := v.nameBundles()
	v.Bundles = collection.Join(g, "bundles",
		v.clusterBundles(clusters), v.loadBundles(loads), v.hostBundles(hosts), v.routeBundles(routes),
		v.outboundBundles(), v.staticBundles(), v.inboundBundles(), v.gatewayBundles(), names, v.nameTableBundles())
	v.Findings = collection.DeriveMany(g, "generation-findings", v.Bundles, func(_ *collection.Ctx, b *Bundle) []*derive.Finding {
		var out []*derive.Finding
		for i, d := range b.Findings {
			out = append(out, &derive.Finding{Key: fmt.Sprintf("%s#%d", b.Key, i), Diagnostic: d})
		}
		return out
	})
	v.publisher = newPublisher(v)
	return v
}

// Join adds a session of a proxy. The Watch follows the session's class, and must
// be closed when the session ends. It has no snapshot before the next propagation:
// sessions that come together, after a restart, are taken up together.
func (v *View) Join(proxy *mesh.Proxy) *Watch {
	v.mu.Lock()
	v.nextID++
	id := fmt.Sprintf("%s#%d", proxy.ID, v.nextID)
	v.mu.Unlock()
	w := newWatch(id, proxy, func() { v.sessions.Delete(id) })
	v.publisher.watch(w)
	v.sessions.Set(&session{id, proxy})
	return w
}
