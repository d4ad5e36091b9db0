package inspect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/reference"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Use is one place that depends on a thing.
type Use struct {
	Kind      string           `json:"kind"`
	Namespace string           `json:"namespace,omitempty"`
	Name      string           `json:"name"`
	Field     string           `json:"field,omitempty"`
	Loss      string           `json:"without"` // what happens without the thing
	Decided   *whatif.Decision `json:"-"`
	At        string           `json:"at,omitempty"`
}

// allObjects is the Kind of a Use that stands for all objects of a namespace.
const allObjects = "all"

// Users is all that depends on a thing.
type Users struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Subset    string `json:"subset,omitempty"`
	Exists    bool   `json:"exists"`
	Uses      []Use  `json:"uses"`
	// Workloads depend on it while they run, as workload.namespace.
	Workloads []string `json:"workloads,omitempty"`
}

// References are all references of the objects that were given.
func (in *Inspector) References() []reference.Reference {
	var out []reference.Reference
	for _, o := range in.w.Given() {
		if o.Meta.OwnerName != "" && o.Key.Kind != resource.KindPod {
			continue // a ReplicaSet says what its Deployment says
		}
		if o.Key.Kind == resource.KindPod && o.Meta.OwnerName != "" {
			continue
		}
		out = append(out, reference.Of(o, reference.Settings{Domain: in.w.Domain()})...)
	}
	return out
}

// Users lists what depends on an object; of a DestinationRule, with a subset, on
// that alone. The object need not exist: then it says what is missing it.
func (in *Inspector) Users(kind resource.Kind, namespace, name, subset string) *Users {
	u := &Users{Kind: kind.Kind, Namespace: namespace, Name: name, Subset: subset}
	o := in.w.Object(kind, namespace, name)
	u.Exists = o != nil
	if kind == resource.KindNamespace {
		u.Namespace = ""
		o = in.w.Object(kind, "", name)
		u.Exists = o != nil
	}
	hosts, subsets := in.hostsOf(kind, namespace, name, o)
	for _, r := range in.References() {
		if r.From.Key == (resource.Key{Kind: kind, Namespace: namespace, Name: name}) {
			continue
		}
		loss := r.Loss
		switch {
		case kind == resource.KindDestinationRule:
			if r.Subset == "" || subset != "" && r.Subset != subset || !slices.Contains(subsets, r.Subset) && subset == "" || !coversAny(r.Host, hosts) {
				continue
			}
		case r.Host != "":
			if !coversAny(r.Host, hosts) || mesh.IsWildcard(r.Host) && r.Host == "*" {
				continue
			}
			if mesh.IsWildcard(r.Host) {
				loss = "it covers other hosts, too"
			}
		case r.Kind != kind || r.Name != name || r.Target.Namespace != "" && r.Target.Namespace != namespace && kind != resource.KindNamespace:
			continue
		}
		u.add(r.From, r.Field, loss)
	}
	in.bySelector(u, kind, o)
	in.dependents(u, kind, o)
	if kind == resource.KindNamespace {
		n := 0
		for _, o := range in.w.Given() {
			if o.Key.Namespace == name {
				n++
			}
		}
		if u.Exists = u.Exists || n > 0; n > 0 {
			u.Uses = append(u.Uses, Use{Kind: allObjects, Name: fmt.Sprintf("%d objects", n), Field: "metadata.namespace", Loss: "they are deleted with it"})
		}
	}
	return u
}

func (u *Users) add(o *resource.Object, field, loss string) {
	d := whatif.Place(o, field)
	u.Uses = append(u.Uses, Use{Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name, Field: field, Loss: loss, Decided: d, At: d.At})
}

func coversAny(pattern string, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return mesh.HostsOverlap(pattern, h) })
}

// hostsOf are the hosts by which a thing is named, and its subsets.
func (in *Inspector) hostsOf(kind resource.Kind, namespace, name string, o *resource.Object) (hosts, subsets []string) {
	switch {
	case kind == resource.KindService:
		return []string{strings.ToLower(name) + "." + namespace + ".svc." + in.w.Domain()}, nil
	case o == nil:
		return nil, nil
	}
	switch s := o.Spec.(type) {
	case *networking.ServiceEntry:
		for _, h := range s.Hosts {
			hosts = append(hosts, strings.ToLower(h))
		}
	case *networking.DestinationRule:
		hosts = []string{mesh.QualifyHost(s.Host, namespace, in.w.Domain())}
		for _, sub := range s.Subsets {
			subsets = append(subsets, sub.Name)
		}
	}
	return hosts, subsets
}

// bySelector adds the services that select the pods of a workload.
func (in *Inspector) bySelector(u *Users, kind resource.Kind, o *resource.Object) {
	if o == nil || kind == resource.KindPod || !slices.Contains(owners(), kind) {
		return
	}
	seen := map[string]bool{}
	for _, p := range in.w.Pods() {
		if p.Workload != o.Key.Name || p.Namespace != o.Key.Namespace {
			continue
		}
		for _, s := range in.servicesOf(p) {
			svc := in.w.Object(resource.Kind{Group: s.Origin.Group, Kind: s.Origin.Kind}, s.Origin.Namespace, s.Origin.Name)
			if svc == nil || seen[s.CollectionKey()] {
				continue
			}
			seen[s.CollectionKey()] = true
			loss := "it has fewer endpoints"
			if !slices.ContainsFunc(in.behind(s), func(q whatif.Pod) bool { return q.Workload != o.Key.Name }) {
				loss = "it has no endpoints: requests get 503"
			}
			u.add(svc, "spec.selector", loss)
		}
	}
}

func owners() []resource.Kind {
	return []resource.Kind{resource.KindDeployment, resource.KindStatefulSet, resource.KindDaemonSet, resource.KindReplicaSet, resource.KindJob}
}

// dependents adds the workloads that need the thing while they run.
func (in *Inspector) dependents(u *Users, kind resource.Kind, o *resource.Object) {
	found := map[string]bool{}
	pods := func(keep func(whatif.Pod) bool) {
		for _, p := range in.w.Pods() {
			if keep(p) {
				found[p.Workload+"."+p.Namespace] = true
			}
		}
	}
	serves := func(g *resource.Object) {
		if spec, ok := g.Spec.(*networking.Gateway); ok && len(spec.GetSelector()) > 0 {
			pods(func(p whatif.Pod) bool { return mesh.Selects(spec.Selector, p.Labels) })
		}
	}
	switch kind {
	case resource.KindGateway:
		if o != nil {
			serves(o)
		}
	case resource.KindServiceAccount:
		pods(func(p whatif.Pod) bool { return p.Namespace == u.Namespace && p.ServiceAccount == u.Name })
	case resource.KindNamespace:
		pods(func(p whatif.Pod) bool { return p.Namespace == u.Name })
	case resource.KindSidecar, resource.KindSecret:
		for _, use := range u.Uses {
			if g := in.w.Object(resource.KindGateway, use.Namespace, use.Name); g != nil && use.Kind == "Gateway" {
				serves(g)
			}
		}
	}
	u.Workloads = slices.Sorted(maps.Keys(found))
}
