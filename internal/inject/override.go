package inject

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// autoImage is what a user writes where the image of the mesh is wanted.
const autoImage = "auto"

// setAside takes the user's containers with our names out of the pod; takeOver lays
// them over ours later.
func (m *mutation) setAside() {
	m.overrides = map[string]corev1.Container{}
	ours := func(c corev1.Container) bool {
		if c.Name != ProxyContainer && c.Name != InitContainer && c.Name != ValidateContainer {
			return false
		}
		m.overrides[c.Name] = c
		return true
	}
	m.pod.Spec.Containers = slices.DeleteFunc(m.pod.Spec.Containers, ours)
	m.pod.Spec.InitContainers = slices.DeleteFunc(m.pod.Spec.InitContainers, ours)
}

// takeOver lays what the user wrote for a container over c, as kubectl would a patch:
// fields replace, lists merge by their keys. The image stays ours with "auto".
func (m *mutation) takeOver(c *corev1.Container) {
	u, ok := m.overrides[c.Name]
	if !ok {
		return
	}
	delete(m.overrides, c.Name)
	if u.Image == autoImage || u.Image == "" {
		u.Image, u.ImagePullPolicy = c.Image, c.ImagePullPolicy
	}
	// These the API server fills in; a default must not win over what is wanted.
	if u.TerminationMessagePath == corev1.TerminationMessagePathDefault {
		u.TerminationMessagePath = ""
	}
	if u.TerminationMessagePolicy == corev1.TerminationMessageReadFile {
		u.TerminationMessagePolicy = ""
	}
	merged, err := mergeContainer(*c, u)
	if err != nil {
		m.refuse(CodeConflict, "spec.containers", fmt.Sprintf("the pod's own container %s cannot be merged with the mesh's: %v", c.Name, err), "")
		return
	}
	*c = merged
}

func mergeContainer(base, over corev1.Container) (corev1.Container, error) {
	var out corev1.Container
	b, err := json.Marshal(base)
	if err != nil {
		return out, err
	}
	o, err := json.Marshal(over)
	if err != nil {
		return out, err
	}
	merged, err := strategicpatch.StrategicMergePatch(b, o, corev1.Container{})
	if err != nil {
		return out, err
	}
	err = json.Unmarshal(merged, &out)
	return out, err
}

// putBack returns to the pod what nothing of ours took over, such as an istio-init
// of the user's in a gateway.
func (m *mutation) putBack() {
	for _, all := range []struct {
		from []corev1.Container
		to   *[]corev1.Container
	}{{m.original.Spec.InitContainers, &m.pod.Spec.InitContainers}, {m.original.Spec.Containers, &m.pod.Spec.Containers}} {
		for _, c := range all.from {
			if u, left := m.overrides[c.Name]; left {
				*all.to = append(*all.to, u)
				delete(m.overrides, c.Name)
			}
		}
	}
}
