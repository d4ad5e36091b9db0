package runtime

import (
	"fmt"

	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/pod"
	"github.com/meshctl/meshctl/internal/resource"
)

// Scale sets the number of replicas of a workload. It holds until the object
// itself asks for another number.
func (r *Runtime) Scale(key controller.WorkloadKey, replicas int) error {
	if replicas < 0 || replicas > controller.MaxReplicas {
		return fmt.Errorf("scale %s to %d: want 0 to %d replicas", key, replicas, controller.MaxReplicas)
	}
	if key.Kind != "Deployment" && key.Kind != "StatefulSet" && key.Kind != "ReplicaSet" {
		return fmt.Errorf("scale %s: a %s cannot be scaled", key, key.Kind)
	}
	r.mu.Lock()
	said, found := 0, false
	for _, o := range r.objects {
		if o.Key.Kind.Kind == key.Kind && o.Key.Name == key.Name && namespaceOf(o) == key.Namespace {
			said, found = replicasOf(o, nil)
		}
	}
	if found {
		r.scale[key] = scaling{replicas: replicas, objectSaid: said}
	}
	r.mu.Unlock()
	if !found {
		return fmt.Errorf("scale %s: there is none", key)
	}
	r.wake()
	return nil
}

func namespaceOf(o *resource.Object) string {
	if o.Key.Namespace == "" {
		return "default"
	}
	return o.Key.Namespace
}

// replicasOf is how many pods a workload asks for; false when the object is no
// workload, or one that asks for none.
func replicasOf(o *resource.Object, scale map[controller.WorkloadKey]scaling) (int, bool) {
	all, _ := controller.Workloads([]*resource.Object{o}, nil)
	if len(all) != 1 {
		return 0, false
	}
	n := all[0].Replicas
	if s, ok := scale[all[0].Key]; ok {
		n = s.replicas
	}
	if scale == nil {
		return n, true
	}
	return n, n > 0
}

// forgetScaling drops wishes that the objects have overruled.
func (r *Runtime) forgetScaling() {
	for key, s := range r.scale {
		keep := false
		for _, o := range r.objects {
			if o.Key.Kind.Kind == key.Kind && o.Key.Name == key.Name && namespaceOf(o) == key.Namespace {
				said, ok := replicasOf(o, nil)
				keep = ok && said == s.objectSaid
			}
		}
		if !keep {
			delete(r.scale, key)
		}
	}
}

// Restart ends a pod; its workload then gets a new one of the same name.
func (r *Runtime) Restart(p *pod.Pod) {
	r.feed.add(false, "Restarting", "Pod "+p.Spec().ID(), "as asked")
	p.Stop(pod.StopOptions{})
}
