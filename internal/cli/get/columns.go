package get

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/resource"
)

// podFacts is what runs under a Pod's name.
type podFacts struct{ api.Pod }

// facts are what columns are made of: an object, and the pods that belong to it.
type facts struct {
	object meshapi.Object
	tree   map[string]any
	pods   map[string]podFacts
}

func read(x meshapi.Object, pods map[string]podFacts) facts {
	f := facts{object: x, pods: pods}
	_ = json.Unmarshal(x.Raw, &f.tree) // what cannot be read has empty columns
	return f
}

// at walks the object; nil where there is nothing.
func (f facts) at(path ...string) any {
	var v any = f.tree
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (f facts) text(path ...string) string {
	switch v := f.at(path...).(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// list prints a list of scalars as kubectl's columns do.
func (f facts) list(path ...string) string {
	all, _ := f.at(path...).([]any)
	if len(all) == 0 {
		return ""
	}
	b, err := json.Marshal(all)
	if err != nil {
		return ""
	}
	return string(b)
}

func (f facts) created() time.Time {
	if !f.object.Created.IsZero() {
		return f.object.Created
	}
	if p, ok := f.pod(); ok {
		return p.Started
	}
	t, _ := time.Parse(time.RFC3339, f.text("metadata", "creationTimestamp"))
	return t
}

func (f facts) pod() (podFacts, bool) {
	p, ok := f.pods[f.object.Namespace+"/"+f.object.Name]
	return p, ok && f.object.Kind == "Pod"
}

// columns of a kind, between NAME and AGE, and after it for -o wide.
type columns struct {
	names     []string
	cells     func(facts) []string
	wide      []string
	wideCells func(facts) []string
}

func runsPods(k resource.Kind) bool {
	return slices.Contains([]resource.Kind{resource.KindDeployment, resource.KindStatefulSet, resource.KindDaemonSet, resource.KindReplicaSet}, k)
}

func columnsOf(k resource.Kind) columns {
	switch {
	case k == resource.KindPod:
		return columns{
			names: []string{"READY", "STATUS", "RESTARTS"}, cells: podCells,
			wide: []string{"IP", "PROXY", "SERVICE ACCOUNT"}, wideCells: podWide,
		}
	case runsPods(k):
		return columns{names: []string{"READY"}, cells: func(f facts) []string { return []string{f.replicas()} }}
	}
	one := func(name string, path ...string) columns {
		return columns{names: []string{name}, cells: func(f facts) []string { return []string{f.text(path...)} }}
	}
	switch k {
	case resource.KindService:
		return columns{names: []string{"TYPE", "CLUSTER-IP", "PORT(S)"}, cells: func(f facts) []string {
			return []string{cmp.Or(f.text("spec", "type"), "ClusterIP"), cmp.Or(f.text("spec", "clusterIP"), "None"), f.ports()}
		}}
	case resource.KindVirtualService:
		return columns{names: []string{"GATEWAYS", "HOSTS"}, cells: func(f facts) []string {
			return []string{f.list("spec", "gateways"), f.list("spec", "hosts")}
		}}
	case resource.KindDestinationRule:
		return one("HOST", "spec", "host")
	case resource.KindServiceEntry:
		return columns{names: []string{"HOSTS", "LOCATION", "RESOLUTION"}, cells: func(f facts) []string {
			return []string{f.list("spec", "hosts"), f.text("spec", "location"), f.text("spec", "resolution")}
		}}
	case resource.KindWorkloadEntry:
		return one("ADDRESS", "spec", "address")
	case resource.KindPeerAuthentication:
		return one("MODE", "spec", "mtls", "mode")
	case resource.KindAuthorizationPolicy:
		return columns{names: []string{"ACTION"}, cells: func(f facts) []string { return []string{cmp.Or(f.text("spec", "action"), "ALLOW")} }}
	case resource.KindNamespace:
		return columns{names: []string{"STATUS"}, cells: func(facts) []string { return []string{"Active"} }}
	}
	return columns{cells: func(facts) []string { return nil }}
}

func podCells(f facts) []string {
	p, ok := f.pod()
	if !ok {
		return []string{"", f.text("status", "phase"), ""}
	}
	ready, restarts := 0, 0
	for _, c := range p.Containers {
		if c.Ready {
			ready++
		}
		restarts += c.Restarts
	}
	status := p.Phase
	switch {
	case p.Terminating:
		status = "Terminating"
	case p.Phase == "Succeeded":
		status = "Completed"
	default:
		for _, c := range p.Containers {
			if c.Reason != "" && !c.Ready && c.Reason != "Completed" {
				status = c.Reason
			}
		}
		status = cmp.Or(p.Reason, status)
	}
	return []string{fmt.Sprintf("%d/%d", ready, len(p.Containers)), status, strconv.Itoa(restarts)}
}

func podWide(f facts) []string {
	p, ok := f.pod()
	if !ok {
		return []string{f.text("status", "podIP"), "", f.text("spec", "serviceAccountName")}
	}
	return []string{cmp.Or(p.IP, "<none>"), p.Proxy, p.ServiceAccount}
}

// replicas counts the ready pods of a workload against those that are there.
func (f facts) replicas() string {
	ready, all := 0, 0
	for _, p := range f.pods {
		if p.Namespace == f.object.Namespace && p.Workload == f.object.Kind+"/"+f.object.Name && !p.Terminating {
			all++
			if p.Ready {
				ready++
			}
		}
	}
	return fmt.Sprintf("%d/%d", ready, all)
}

func (f facts) ports() string {
	all, _ := f.at("spec", "ports").([]any)
	var out []string
	for _, p := range all {
		port := facts{tree: asMap(p)}
		out = append(out, port.text("port")+"/"+cmp.Or(port.text("protocol"), "TCP"))
	}
	return strings.Join(out, ",")
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
