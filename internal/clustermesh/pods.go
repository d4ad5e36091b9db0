package clustermesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/local/api"
)

// ProxyContainer is the name of a pod's sidecar, or of a gateway's proxy.
const ProxyContainer = "istio-proxy"

func podResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: "pods"}
}

// Pods lists the pods of all namespaces; who may not list those gets what may be seen
// of the user's own namespace and of the control plane's.
func (m *Mesh) Pods(ctx context.Context) ([]api.Pod, error) {
	pods, err := m.listPods(ctx, "", metav1.ListOptions{})
	var k *kube.Error
	if errors.As(err, &k) && k.Kind == kube.Forbidden {
		for _, namespace := range slices.Compact([]string{m.opts.Within, m.opts.Namespace}) {
			if namespace == "" {
				continue
			}
			if narrow, narrowErr := m.listPods(ctx, namespace, metav1.ListOptions{}); narrowErr == nil {
				pods, err = append(pods, narrow...), nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	out := make([]api.Pod, 0, len(pods))
	for i := range pods {
		out = append(out, podOf(&pods[i]))
	}
	return out, nil
}

// listPods lists in a namespace, or in all with "".
func (m *Mesh) listPods(ctx context.Context, namespace string, options metav1.ListOptions) ([]corev1.Pod, error) {
	var in dynamic.ResourceInterface = m.client.Dynamic.Resource(podResource())
	doing := "list pods in all namespaces"
	if namespace != "" {
		in, doing = m.client.Dynamic.Resource(podResource()).Namespace(namespace), "list pods in namespace "+namespace
	}
	options.Limit = 500
	var out []corev1.Pod
	for {
		page, err := in.List(ctx, options)
		if err != nil {
			return nil, m.client.Explain(err, doing)
		}
		for i := range page.Items {
			var p corev1.Pod
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(page.Items[i].Object, &p); err != nil {
				return nil, fmt.Errorf("read pod %s/%s: %w", page.Items[i].GetNamespace(), page.Items[i].GetName(), err)
			}
			out = append(out, p)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}

// podOf says of a pod what a local mesh says of its own.
func podOf(p *corev1.Pod) api.Pod {
	out := api.Pod{
		Namespace: p.Namespace, Name: p.Name, Workload: workloadOf(p), ServiceAccount: cmp.Or(p.Spec.ServiceAccountName, "default"),
		IP: p.Status.PodIP, Phase: string(p.Status.Phase), Terminating: p.DeletionTimestamp != nil, Proxy: proxyOf(p),
		Reason: p.Status.Reason, Message: p.Status.Message, Labels: p.Labels,
		Revision: cmp.Or(p.Labels[labelRevision], p.Annotations[labelRevision]),
	}
	if p.Status.StartTime != nil {
		out.Started = p.Status.StartTime.Time
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue && out.Message == "" {
			out.Message = c.Message
		}
	}
	statuses := slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses)
	for _, c := range runningContainers(p) {
		i := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == c.Name })
		x := api.Container{Name: c.Name, Image: c.Image}
		if i >= 0 {
			x = containerOf(c, &statuses[i])
		}
		out.Containers = append(out.Containers, x)
	}
	out.Reason = cmp.Or(out.Reason, initReason(p))
	return out
}

// runningContainers are those that run as long as the pod: native sidecars, which
// Kubernetes counts among the init containers, come last.
func runningContainers(p *corev1.Pod) []corev1.Container {
	out := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}

func containerOf(c corev1.Container, s *corev1.ContainerStatus) api.Container {
	out := api.Container{Name: c.Name, Image: c.Image, Ready: s.Ready, Restarts: int(s.RestartCount)}
	switch {
	case s.State.Running != nil:
		out.Running, out.Started = true, s.State.Running.StartedAt.Time
	case s.State.Waiting != nil:
		out.Reason, out.Message = s.State.Waiting.Reason, s.State.Waiting.Message
	case s.State.Terminated != nil:
		out.ExitCode, out.Reason, out.Message = int(s.State.Terminated.ExitCode), s.State.Terminated.Reason, s.State.Terminated.Message
	}
	return out
}

// initReason is what a pod waits for before its containers start, as kubectl says it.
func initReason(p *corev1.Pod) string {
	if p.Status.Phase != corev1.PodPending {
		return ""
	}
	for i, s := range p.Status.InitContainerStatuses {
		switch {
		case s.State.Terminated != nil && s.State.Terminated.ExitCode == 0, s.Started != nil && *s.Started:
			continue
		case s.State.Terminated != nil:
			return "Init:" + cmp.Or(s.State.Terminated.Reason, "Error")
		case s.State.Waiting != nil && s.State.Waiting.Reason != "" && s.State.Waiting.Reason != "PodInitializing":
			return "Init:" + s.State.Waiting.Reason
		default:
			return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
	}
	return ""
}

// workloadOf is what the user deployed, as Kind/name.
func workloadOf(p *corev1.Pod) string {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return "Pod/" + p.Name
	}
	if hash := p.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		return "Deployment/" + strings.TrimSuffix(owner.Name, "-"+hash)
	}
	return owner.Kind + "/" + owner.Name
}

// proxyOf tells a sidecar from a gateway's proxy by how it is started.
func proxyOf(p *corev1.Pod) string {
	for _, c := range runningContainers(p) {
		if c.Name != ProxyContainer {
			continue
		}
		if slices.Contains(c.Args, "router") {
			return "gateway"
		}
		return "sidecar"
	}
	return "none"
}
