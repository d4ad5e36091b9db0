package collection_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/collection"
)

// The shape of the benchmarks: services own endpoints; for each service an
// endpoint set and a cluster, and one summary of all clusters per namespace.

type service struct {
	name, namespace string
	port            int
}

func (s *service) CollectionKey() string  { return s.name }
func (s *service) Equal(o *service) bool  { return *s == *o }
func (e *endpoint) CollectionKey() string { return e.name }
func (e *endpoint) Equal(o *endpoint) bool {
	return *e == *o
}

type endpoint struct {
	name, service, address string
	port                   int
}

type endpointSet struct {
	service   string
	addresses []string
}

func (s *endpointSet) CollectionKey() string { return s.service }
func (s *endpointSet) Equal(o *endpointSet) bool {
	return s.service == o.service && slices.Equal(s.addresses, o.addresses)
}

type cluster struct {
	name, namespace string
	endpoints       int
}

func (c *cluster) CollectionKey() string { return c.name }
func (c *cluster) Equal(o *cluster) bool { return *c == *o }

func setOf(s *service, eps []*endpoint) *endpointSet {
	out := &endpointSet{service: s.name, addresses: make([]string, 0, len(eps))}
	for _, e := range eps {
		out.addresses = append(out.addresses, fmt.Sprintf("%s:%d", e.address, e.port))
	}
	slices.Sort(out.addresses)
	return out
}

func clusterOf(s *service, set *endpointSet) *cluster {
	c := &cluster{name: fmt.Sprintf("outbound|%d||%s.%s", s.port, s.name, s.namespace), namespace: s.namespace}
	if set != nil {
		c.endpoints = len(set.addresses)
	}
	return c
}

type mesh struct {
	g         *collection.Graph
	services  *collection.Input[*service]
	endpoints *collection.Input[*endpoint]
	clusters  collection.Collection[*cluster]
	sets      collection.Collection[*endpointSet]
}

func newMesh() *mesh {
	g := collection.NewGraph(collection.Options{})
	m := &mesh{g: g}
	m.services = collection.NewInput[*service](g, "services")
	m.endpoints = collection.NewInput[*endpoint](g, "endpoints")
	byService := collection.NewIndex(m.endpoints, "service", func(e *endpoint) []string { return []string{e.service} })
	m.sets = collection.Derive(g, "sets", m.services, func(c *collection.Ctx, s *service) (*endpointSet, bool) {
		return setOf(s, collection.FetchIndex(c, byService, s.name)), true
	})
	m.clusters = collection.Derive(g, "clusters", m.services, func(c *collection.Ctx, s *service) (*cluster, bool) {
		set, _ := collection.Fetch(c, m.sets, s.name)
		return clusterOf(s, set), true
	})
	return m
}

const benchServices, benchEndpoints = 1000, 10000

func benchData() ([]*service, []*endpoint) {
	services := make([]*service, benchServices)
	for i := range services {
		services[i] = &service{fmt.Sprintf("svc-%04d", i), fmt.Sprintf("ns-%d", i%20), 8080}
	}
	endpoints := make([]*endpoint, benchEndpoints)
	for i := range endpoints {
		endpoints[i] = &endpoint{fmt.Sprintf("pod-%05d", i), services[i%benchServices].name, fmt.Sprintf("10.0.%d.%d", i/250, i%250), 8080}
	}
	return services, endpoints
}

func BenchmarkFromScratch(b *testing.B) {
	services, endpoints := benchData()
	b.ReportAllocs()
	for b.Loop() {
		m := newMesh()
		m.services.Set(services...)
		m.endpoints.Set(endpoints...)
		flush(b, m.g)
		if m.clusters.Len() != benchServices {
			b.Fatal("not everything there")
		}
	}
}

// BenchmarkNaiveRebuild is the peer: the same outputs with plain loops and maps,
// as a full rebuild after any change would make them.
func BenchmarkNaiveRebuild(b *testing.B) {
	services, endpoints := benchData()
	b.ReportAllocs()
	for b.Loop() {
		byService := map[string][]*endpoint{}
		for _, e := range endpoints {
			byService[e.service] = append(byService[e.service], e)
		}
		sets, clusters := map[string]*endpointSet{}, map[string]*cluster{}
		for _, s := range services {
			sets[s.name] = setOf(s, byService[s.name])
			c := clusterOf(s, sets[s.name])
			clusters[c.name] = c
		}
		if len(clusters) != benchServices {
			b.Fatal("not everything there")
		}
	}
}

func benchLoaded(b *testing.B) (*mesh, []*service, []*endpoint) {
	m := newMesh()
	services, endpoints := benchData()
	m.services.Set(services...)
	m.endpoints.Set(endpoints...)
	flush(b, m.g)
	b.ReportAllocs()
	return m, services, endpoints
}

func BenchmarkOneEndpointChange(b *testing.B) {
	m, _, endpoints := benchLoaded(b)
	before := m.g.Generation()
	i := 0
	for b.Loop() {
		i++
		e := *endpoints[i*37%benchEndpoints]
		e.port = 1 + i%60000
		m.endpoints.Set(&e)
		flush(b, m.g)
	}
	if m.g.Generation() == before {
		b.Fatal("nothing changed")
	}
}

func BenchmarkOneServiceChange(b *testing.B) {
	m, services, _ := benchLoaded(b)
	i := 0
	for b.Loop() {
		i++
		s := *services[i*37%benchServices]
		s.port = 1 + i%60000
		m.services.Set(&s)
		flush(b, m.g)
	}
}

// BenchmarkListAfterOneChange adds what a reader of the whole list pays.
func BenchmarkListAfterOneChange(b *testing.B) {
	m, _, endpoints := benchLoaded(b)
	i := 0
	for b.Loop() {
		i++
		e := *endpoints[i*37%benchEndpoints]
		e.address = strings.Repeat("1", 1+i%8)
		m.endpoints.Set(&e)
		flush(b, m.g)
		if len(m.endpoints.List()) != benchEndpoints {
			b.Fatal("list is short")
		}
	}
}
