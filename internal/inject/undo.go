package inject

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Without is a pod as if it had not been injected, as far as deciding anew goes: its
// sidecar and what records it are gone. It is not the pod that somebody wrote.
func Without(pod *corev1.Pod) *corev1.Pod {
	_, added, ok := Status(pod)
	if !ok {
		return pod
	}
	p := pod.DeepCopy()
	delete(p.Annotations, annotationStatus)
	gateway := p.Annotations[annTemplates] == templateGateway
	ours := func(c corev1.Container) bool { return slices.Contains(added, c.Name) && !gateway }
	p.Spec.Containers = slices.DeleteFunc(p.Spec.Containers, ours)
	p.Spec.InitContainers = slices.DeleteFunc(p.Spec.InitContainers, ours)
	if i := container(p.Spec.Containers, ProxyContainer); gateway && i >= 0 {
		p.Spec.Containers[i].Image = autoImage
	}
	return p
}

// ProxyImage is the image of a pod's proxy, "" when it has none.
func ProxyImage(pod *corev1.Pod) string {
	for _, all := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		if i := container(all, ProxyContainer); i >= 0 {
			return all[i].Image
		}
	}
	return ""
}
