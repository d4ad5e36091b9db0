package controller

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ContainerStatus is how one container is doing.
type ContainerStatus struct {
	Name     string
	Image    string
	Ready    bool
	Running  bool
	Restarts int
	Started  time.Time
	ExitCode int
	Reason   string // e.g. CrashLoopBackOff, Error, Completed
	Message  string
}

// PodStatus is how a pod is doing.
type PodStatus struct {
	IP          netip.Addr
	Phase       corev1.PodPhase
	Ready       bool
	Terminating bool
	Started     time.Time
	Reason      string
	Message     string
	Containers  []ContainerStatus
}

// Pod is a pod that exists.
type Pod struct {
	PodSpec
	PodStatus
	UID string
}

// Plan is what to do now for one workload.
type Plan struct {
	Start []PodSpec
	Stop  []string // names
}

// Rollout says which pods of w to start and stop now. pods are those of w that
// exist, of all versions of its template. Call it again when anything changed;
// it ends when exactly the wanted pods run. Rules:
//
//   - at most Replicas+MaxSurge pods at a time, those that are ending left out;
//   - at least Replicas-MaxUnavailable of them ready, while old ones go;
//   - old pods that are not ready go first.
func Rollout(w Workload, pods []Pod, namespaceLabels map[string]string) Plan {
	var plan Plan
	byName := map[string]Pod{}
	var current, old []Pod
	for _, p := range pods {
		byName[p.Name] = p
		switch {
		case p.Terminating:
		case p.Hash == w.Hash && p.Index < w.Replicas:
			current = append(current, p)
		default:
			old = append(old, p)
		}
	}
	// Scaling down takes the highest indices and has no limits; a new version does.
	var replaced []Pod
	for _, p := range old {
		if p.Hash == w.Hash {
			plan.Stop = append(plan.Stop, p.Name)
			continue
		}
		replaced = append(replaced, p)
	}
	room := w.Replicas + w.MaxSurge - len(current) - len(replaced)
	plan.Stop = append(plan.Stop, oldToStop(w, current, replaced)...)
	for i := 0; i < w.Replicas && room > 0; i++ {
		p := w.pod(i, namespaceLabels)
		if _, exists := byName[p.Name]; exists {
			continue // running, or its predecessor of the same name is still ending
		}
		plan.Start = append(plan.Start, p)
		room--
	}
	return plan
}

// oldToStop picks old pods that the service can do without.
func oldToStop(w Workload, current, replaced []Pod) []string {
	ready := 0
	for _, p := range current {
		if p.Ready || p.Phase == corev1.PodSucceeded {
			ready++
		}
	}
	for _, p := range replaced {
		if p.Ready {
			ready++
		}
	}
	spare := ready - (w.Replicas - w.MaxUnavailable)
	// A surplus (scaled down while updating) may go too, ready or not.
	slices.SortFunc(replaced, func(a, b Pod) int {
		if a.Ready != b.Ready {
			if a.Ready {
				return 1
			}
			return -1
		}
		return b.Index - a.Index
	})
	var stop []string
	for _, p := range replaced {
		if p.Ready {
			if spare <= 0 {
				continue
			}
			spare--
		}
		stop = append(stop, p.Name)
	}
	return stop
}
