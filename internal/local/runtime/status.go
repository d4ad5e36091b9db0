package runtime

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/pod"
)

// Status is the node at a glance. PID and Folder are the caller's to fill in.
func (r *Runtime) Status() api.Status {
	// What is ready but not yet known to the control plane and the published
	// ports does not count, hence the order: first what was applied.
	applied := r.done.Load()
	pods := r.snapshot()
	r.mu.Lock()
	s := api.Status{Name: r.opts.Name, Network: string(r.opts.Network.Mode()), Started: r.started, Diagnostics: slices.Clone(r.findings), Pods: []api.Pod{}, Services: []api.Service{}}
	ready := readyEndpoints(r.slices)
	for _, svc := range r.services {
		s.Services = append(s.Services, serviceInfo(svc, ready))
	}
	stopping, planned := r.stopping, r.haveObjects
	select {
	case <-r.ready:
	default:
		planned = false
	}
	r.mu.Unlock()
	s.Publications = r.pubs.list()
	for _, p := range pods {
		s.Pods = append(s.Pods, podInfo(p))
		r.judge(p, &s)
	}
	for _, d := range s.Diagnostics {
		if d.Severity == diag.Error {
			s.Failed = append(s.Failed, d.Error())
		}
	}
	slices.SortFunc(s.Diagnostics, diag.Compare)
	switch {
	case stopping:
		s.State = api.Stopping
	case !planned || len(s.Waiting) > 0 || !r.complete(pods, s.Diagnostics) || applied != r.asked.Load():
		s.State = api.Starting
		if !planned {
			s.Waiting = append(s.Waiting, "the control plane is starting")
		}
	case len(s.Failed) > 0:
		s.State = api.Degraded
	default:
		s.State = api.Ready
	}
	return s
}

// judge sorts a pod that is not ready under waiting or failed.
func (r *Runtime) judge(p controller.Pod, s *api.Status) {
	name := "Pod " + p.ID()
	if p.Ready && justStarted(p, time.Now()) {
		s.Waiting = append(s.Waiting, name+": it has just started and has no readiness check; it may still fail")
		return
	}
	if p.Ready || p.Terminating || p.Phase == corev1.PodSucceeded {
		return
	}
	for _, c := range p.Containers {
		if c.Reason == "CrashLoopBackOff" || p.Phase == corev1.PodFailed && c.ExitCode != 0 {
			s.Failed = append(s.Failed, fmt.Sprintf("%s: container %s %s", name, c.Name, c.Message))
			return
		}
	}
	if p.Reason == "SetUpFailed" || p.Reason == "InitContainerFailed" {
		s.Failed = append(s.Failed, fmt.Sprintf("%s: %s", name, p.Message))
		return
	}
	why := p.Message
	if why == "" {
		why = "it is starting"
	}
	s.Waiting = append(s.Waiting, name+": "+why)
}

// probation is how long a container without a readiness check must run before
// it is believed: one that dies at once is to be reported, not counted as ready.
const probation = time.Second

func justStarted(p controller.Pod, now time.Time) bool {
	checked := map[string]bool{pod.ProxyName: true}
	for _, c := range p.Spec.Containers {
		checked[c.Name] = c.ReadinessProbe != nil || c.StartupProbe != nil
	}
	for _, c := range p.Containers {
		if c.Running && !checked[c.Name] && now.Sub(c.Started) < probation {
			return true
		}
	}
	return false
}

// complete reports whether each workload that can run has a pod; right after
// objects arrive, none has one yet.
func (r *Runtime) complete(pods []controller.Pod, findings []diag.Diagnostic) bool {
	have := map[string]bool{}
	for _, p := range pods {
		have[p.Workload.String()] = true
	}
	for _, d := range findings {
		have[d.Object.Kind+" "+d.Object.Namespace+"/"+d.Object.Name] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.objects {
		key := controller.WorkloadKey{Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name}
		if key.Namespace == "" {
			key.Namespace = "default"
		}
		if _, ok := replicasOf(o, r.scale); ok && !have[key.String()] {
			return false
		}
	}
	return true
}

func podInfo(p controller.Pod) api.Pod {
	info := api.Pod{
		Namespace: p.Namespace, Name: p.Name, Workload: p.Workload.Kind + "/" + p.Workload.Name,
		ServiceAccount: p.ServiceAccount(), Phase: string(p.Phase), Ready: p.Ready, Terminating: p.Terminating,
		Proxy: p.Injection.String(), Started: p.Started, Reason: p.Reason, Message: p.Message, Labels: p.Labels,
		Containers: []api.Container{},
	}
	if p.IP.IsValid() {
		info.IP = p.IP.String()
	}
	for _, c := range p.Containers {
		info.Containers = append(info.Containers, api.Container(c))
	}
	return info
}

func serviceInfo(s *corev1.Service, ready map[string][]netip.AddrPort) api.Service {
	info := api.Service{Namespace: s.Namespace, Name: s.Name, ClusterIP: s.Spec.ClusterIP, Ports: []int{}}
	for _, p := range s.Spec.Ports {
		info.Ports = append(info.Ports, int(p.Port))
		info.Ready = max(info.Ready, len(ready[s.Namespace+"/"+s.Name+":"+p.Name]))
	}
	return info
}

// Pod finds a running pod by namespace and name. A name may also be that of a
// workload or the beginning of a pod's name, when it fits one pod only.
func (r *Runtime) Pod(namespace, name string) (*pod.Pod, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pods[namespace+"/"+name]; p != nil {
		return p, nil
	}
	var found []*pod.Pod
	var names []string
	for id, p := range r.pods {
		spec := p.Spec()
		if spec.Namespace == namespace && (spec.Workload.Name == name || strings.HasPrefix(spec.Name, name)) && !p.Status().Terminating {
			found = append(found, p)
			names = append(names, id)
		}
	}
	slices.Sort(names)
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no pod %s/%s", namespace, name)
	case 1:
		return found[0], nil
	default:
		return nil, fmt.Errorf("%s/%s may be any of %s", namespace, name, strings.Join(names, ", "))
	}
}
