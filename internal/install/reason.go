package install

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	podKind   = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	eventKind = schema.GroupVersionKind{Version: "v1", Kind: "Event"}
)

// podsReason says why a workload is not ready, as far as its pods and events
// tell. Somebody who may not read them gets "" and goes by the status alone.
func (i *Installer) podsReason(ctx context.Context, workload *unstructured.Unstructured) (string, string) {
	selector, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "selector", "matchLabels")
	if len(selector) == 0 {
		return "", ""
	}
	found, err := i.list(ctx, podKind, workload.GetNamespace(), metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: selector}))
	if err != nil {
		return "", ""
	}
	pods := make([]corev1.Pod, 0, len(found))
	for _, u := range found {
		var p corev1.Pod
		if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p) == nil && p.DeletionTimestamp == nil {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int { // the newest first
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	if len(pods) == 0 {
		if status, message := condition(workload, "ReplicaFailure"); status == "True" {
			return "no pod can be made: " + message, hintFor(message)
		}
		return "", ""
	}
	for _, p := range pods {
		if why, hint := podReason(&p, i.lastEvent(ctx, &p)); why != "" {
			return fmt.Sprintf("pod %s %s", p.Name, why), hint
		}
	}
	return "", ""
}

// lastEvent is the newest warning about a pod, "" if there is none.
func (i *Installer) lastEvent(ctx context.Context, p *corev1.Pod) string {
	r, err := i.resource(eventKind, p.Namespace)
	if err != nil {
		return ""
	}
	list, err := r.List(ctx, metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.uid=" + string(p.UID), Limit: 100})
	if err != nil {
		return ""
	}
	message, newest := "", ""
	for _, u := range list.Items {
		when := cmp.Or(stringAt(u.Object, "lastTimestamp"), stringAt(u.Object, "eventTime"), u.GetCreationTimestamp().String())
		if when >= newest {
			newest, message = when, stringAt(u.Object, "message")
		}
	}
	return message
}

// podReason says why a pod is not ready, and what helps; "" for one that is.
func podReason(p *corev1.Pod, event string) (why, hint string) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "cannot be scheduled: " + c.Message, hintFor(c.Message)
		}
	}
	all := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
	for _, s := range all {
		if why, hint := containerReason(&s); why != "" {
			return why, hint
		}
	}
	if p.Status.Phase == corev1.PodPending && len(all) == 0 || p.Status.Phase == "" {
		return "waits to be started" + after(event), hintFor(event)
	}
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.State.Waiting != nil:
			return fmt.Sprintf("starts container %s%s", s.Name, after(event)), hintFor(event)
		case s.State.Running != nil && !s.Ready:
			return fmt.Sprintf("runs, and container %s is not ready%s", s.Name, after(event)), hintFor(event)
		}
	}
	return "", ""
}

func after(event string) string {
	if event == "" {
		return ""
	}
	return ": " + firstLine(event)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// containerReason is what a container's own state tells.
func containerReason(s *corev1.ContainerStatus) (why, hint string) {
	crashed := s.LastTerminationState.Terminated
	switch {
	case s.State.Waiting != nil:
		w := s.State.Waiting
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable":
			return fmt.Sprintf("cannot pull image %s: %s", s.Image, pullError(cmp.Or(w.Message, w.Reason), s.Image)),
				"name the registry and version with --set hub=… --set tag=…; meshctl images list shows what is pulled"
		case "CrashLoopBackOff":
			return fmt.Sprintf("container %s ends again and again%s", s.Name, exitOf(crashed)), fmt.Sprintf("kubectl logs -c %s --previous, for its last words", s.Name)
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return fmt.Sprintf("cannot start container %s: %s", s.Name, firstLine(cmp.Or(w.Message, w.Reason))), ""
		}
	case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
		return fmt.Sprintf("container %s has ended%s", s.Name, exitOf(s.State.Terminated)), fmt.Sprintf("kubectl logs -c %s, for its last words", s.Name)
	}
	return "", ""
}

// pulling are the steps that kubelet and container runtime name before they say
// what failed.
var pulling = regexp.MustCompile(`^(rpc error: code = \w+ desc = |Back-off pulling image "[^"]*": |ErrImagePull: |failed to pull and unpack image "[^"]*": |failed to resolve reference "[^"]*": |failed to do request: \w+ "[^"]*": )+`)

// pullError is the part of a runtime's message that says what failed.
func pullError(message, image string) string {
	return strings.TrimPrefix(pulling.ReplaceAllString(firstLine(message), ""), image+": ")
}

func exitOf(t *corev1.ContainerStateTerminated) string {
	if t == nil {
		return ""
	}
	text := fmt.Sprintf(" with code %d", t.ExitCode)
	if t.Reason != "" && t.Reason != "Error" {
		text += " (" + t.Reason + ")"
	}
	if t.Message != "" {
		text += ": " + firstLine(t.Message)
	}
	return text
}

// hints are what helps against usual messages.
var hints = []struct{ text, hint string }{
	{"Insufficient cpu", "the nodes are full: try --set profile=tiny, or add a node"},
	{"Insufficient memory", "the nodes are full: try --set profile=tiny, or add a node"},
	{"untolerated taint", "let the pods on these nodes: components.*.k8s.tolerations"},
	{"violates PodSecurity", "the namespace forbids such pods: kubectl label namespace istio-system pod-security.kubernetes.io/enforce-"},
	{"exceeded quota", "the namespace has a ResourceQuota: raise it, or ask for less with resources"},
	{"no such host", "a node cannot find the registry: check its DNS, or use --set hub=…"},
	{"didn't match Pod's node", "no node has the labels asked for: components.*.k8s.nodeSelector"},
	{"failed calling webhook", "a webhook of something else refuses pods, or does not answer"},
	{"serviceaccount", "the account is missing: run the installation again"},
}

// hintFor knows what helps against usual messages.
func hintFor(message string) string {
	for _, h := range hints {
		if strings.Contains(message, h.text) {
			return h.hint
		}
	}
	return ""
}
