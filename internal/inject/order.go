package inject

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// orderContainers puts ours where they have to be. Init containers run one after the
// other: the check of a CNI plugin comes first, for nothing may run in a pod whose
// traffic escapes; with a native sidecar, redirection and sidecar come before all of
// the application's, which are in the mesh then; without one, redirection comes
// last, for until the sidecar runs nothing would answer.
func (m *mutation) orderContainers() {
	init := m.pod.Spec.InitContainers
	if m.opt.native {
		init = first(init, ProxyContainer)
		init = first(init, InitContainer)
	}
	m.pod.Spec.InitContainers = first(init, ValidateContainer)
	if m.opt.hold && !m.opt.native {
		m.pod.Spec.Containers = first(m.pod.Spec.Containers, ProxyContainer)
	}
	if m.opt.gateway {
		m.restorePlace()
	}
}

// first moves a container to the front.
func first(all []corev1.Container, name string) []corev1.Container {
	i := container(all, name)
	if i <= 0 {
		return all
	}
	c := all[i]
	return slices.Insert(slices.Delete(all, i, i+1), 0, c)
}

// restorePlace keeps a gateway's proxy where its author put it.
func (m *mutation) restorePlace() {
	was, is := container(m.original.Spec.Containers, ProxyContainer), container(m.pod.Spec.Containers, ProxyContainer)
	if was < 0 || is < 0 || was == is {
		return
	}
	c := m.pod.Spec.Containers[is]
	all := slices.Delete(m.pod.Spec.Containers, is, is+1)
	m.pod.Spec.Containers = slices.Insert(all, min(was, len(all)), c)
}
