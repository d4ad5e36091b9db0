package env

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local/api"
)

// kindNames are the names of what runs pods, as people write them.
var kindNames = map[string]string{
	"pod": "Pod", "pods": "Pod", "po": "Pod",
	"deployment": "Deployment", "deployments": "Deployment", "deploy": "Deployment",
	"statefulset": "StatefulSet", "statefulsets": "StatefulSet", "sts": "StatefulSet",
	"daemonset": "DaemonSet", "daemonsets": "DaemonSet", "ds": "DaemonSet",
	"replicaset": "ReplicaSet", "replicasets": "ReplicaSet", "rs": "ReplicaSet",
	"job": "Job", "jobs": "Job",
	"service": "Service", "services": "Service", "svc": "Service",
}

// PodRef is what a user wrote for a pod: [<type>/]<name>[.<namespace>].
type PodRef struct {
	Kind      string // "" when not given
	Name      string
	Namespace string // "" when not given
}

// ParsePodRef reads istioctl's and kubectl's form of naming pods.
func ParsePodRef(arg string) (PodRef, error) {
	r := PodRef{Name: arg}
	if kind, name, ok := strings.Cut(arg, "/"); ok {
		r.Kind, r.Name = kindNames[strings.ToLower(kind)], name
		if r.Kind == "" {
			return r, exit.Usagef("%q: %q runs no pods; write pod/, deploy/, statefulset/, daemonset/, job/ or svc/", arg, kind)
		}
	}
	if name, namespace, ok := strings.Cut(r.Name, "."); ok {
		r.Name, r.Namespace = name, namespace
	}
	if r.Name == "" || strings.Contains(r.Name, "/") {
		return r, exit.Usagef("%q is not [TYPE/]NAME[.NAMESPACE]", arg)
	}
	return r, nil
}

// FindPods finds the pods that arg means, in order of their names: the pod of
// the name, or those of a workload, or those whose name begins with it
// (productpage-v1).
func (e *Env) FindPods(ctx context.Context, m *Mesh, arg string) ([]api.Pod, error) {
	ref, err := ParsePodRef(arg)
	if err != nil {
		return nil, err
	}
	all, err := m.PodsIn(ctx, "")
	if err != nil {
		return nil, err
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = e.Namespace()
	}
	if ref.Kind == "Service" {
		if all, err = m.servedBy(ctx, all, ref.Name); err != nil {
			return nil, err
		}
	}
	found := matchPods(all, ref, namespace)
	if len(found) == 0 && ref.Namespace == "" && e.Settings.Namespace == "" {
		// Where nobody said a namespace, a name that is unique in the mesh will do.
		if elsewhere := matchPods(all, ref, ""); len(namespaces(elsewhere)) == 1 {
			found = elsewhere
		}
	}
	if len(found) == 0 {
		return nil, noPod(arg, namespace, all)
	}
	return found, nil
}

// FindPod is FindPods for commands that look at one: the first that is ready.
func (e *Env) FindPod(ctx context.Context, m *Mesh, arg string) (api.Pod, error) {
	pods, err := e.FindPods(ctx, m, arg)
	if err != nil {
		return api.Pod{}, err
	}
	if i := slices.IndexFunc(pods, func(p api.Pod) bool { return p.Ready && !p.Terminating }); i >= 0 {
		return pods[i], nil
	}
	return pods[0], nil
}

func matchPods(all []api.Pod, ref PodRef, namespace string) []api.Pod {
	var exact, workload, prefix []api.Pod
	for _, p := range all {
		if namespace != "" && p.Namespace != namespace {
			continue
		}
		kind, name, _ := strings.Cut(p.Workload, "/")
		switch {
		case ref.Kind == "Service":
			exact = append(exact, p)
		case p.Name == ref.Name && (ref.Kind == "" || ref.Kind == "Pod"):
			exact = append(exact, p)
		case name == ref.Name && (ref.Kind == "" || ref.Kind == kind):
			workload = append(workload, p)
		case ref.Kind == "" && strings.HasPrefix(p.Name, ref.Name):
			prefix = append(prefix, p)
		}
	}
	for _, found := range [][]api.Pod{exact, workload, prefix} {
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// servedBy keeps the pods that a Service of the name selects, in each namespace.
func (m *Mesh) servedBy(ctx context.Context, all []api.Pod, service string) ([]api.Pod, error) {
	objects, err := m.API.Objects(ctx, "", "Service", "", service)
	if err != nil {
		return nil, err
	}
	var out []api.Pod
	for _, o := range objects {
		var s struct {
			Spec struct {
				Selector map[string]string `json:"selector"`
			} `json:"spec"`
		}
		if err := json.Unmarshal(o.Raw, &s); err != nil {
			return nil, fmt.Errorf("read Service %s/%s: %w", o.Namespace, o.Name, err)
		}
		for _, p := range all {
			if p.Namespace == o.Namespace && len(s.Spec.Selector) > 0 && hasLabels(p.Labels, s.Spec.Selector) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

func hasLabels(labels, want map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func namespaces(pods []api.Pod) []string {
	var out []string
	for _, p := range pods {
		if !slices.Contains(out, p.Namespace) {
			out = append(out, p.Namespace)
		}
	}
	return out
}

func noPod(arg, namespace string, all []api.Pod) error {
	err := exit.Failuref("no pod %q in namespace %q", arg, namespace)
	var names []string
	for _, p := range all {
		if p.Namespace == namespace {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return err.Because(fmt.Errorf("the namespace has no pods")).Try("meshctl get pods -A")
	}
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return err.Because(fmt.Errorf("there are %s", strings.Join(names, ", "))).Try("meshctl get pods -A")
}
