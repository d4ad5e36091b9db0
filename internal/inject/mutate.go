package inject

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/diag"
)

// mutation is one pod on its way into the mesh.
type mutation struct {
	report
	in        Inputs
	original  *corev1.Pod // never changed
	pod       *corev1.Pod
	owner     Owner
	opt       options
	overrides map[string]corev1.Container
	added     status
}

// Mutate adds to a pod what makes it one of the mesh. The pod given is not changed.
// With a finding of severity Error the result has no pod: it must not run as it is.
func Mutate(pod *corev1.Pod, in Inputs) (Result, []diag.Diagnostic) {
	if in.Namespace.Name == "" {
		in.Namespace.Name = pod.Namespace
	}
	r := Result{Decision: Decide(pod, in), Pod: pod}
	m := &mutation{report: report{obj: podRef(pod, in.Namespace.Name)}, in: in, original: pod, pod: pod.DeepCopy()}
	if !r.Decision.Inject {
		if !Injected(pod) && namesMesh(pod) {
			m.checkAnnotations()
			m.soften(r.Decision.Reason)
		}
		return r, m.sorted()
	}
	m.owner = ownerOf(pod)
	if in.Owner != nil {
		m.owner = *in.Owner
	}
	m.readOptions()
	m.checkAnnotations()
	m.checkPod()
	if m.failed() {
		return Result{Decision: r.Decision}, m.sorted()
	}
	if m.pod.Annotations == nil {
		m.pod.Annotations = map[string]string{}
	}
	m.setAside()
	m.addCapture()
	m.addProxy()
	m.putBack()
	m.rewriteProbes()
	m.mergeMetrics()
	m.addVolumes()
	m.addMetadata()
	m.orderContainers()
	m.writeStatus()
	if m.failed() {
		return Result{Decision: r.Decision}, m.sorted()
	}
	r.Pod = m.pod.DeepCopy() // nothing in it is shared with the inputs
	return r, m.sorted()
}

// namesMesh reports whether a pod carries an annotation of the mesh besides those
// that say whether to inject.
func namesMesh(pod *corev1.Pod) bool {
	for name := range pod.Annotations {
		if ownPrefix(name) != "" && name != NameInject {
			return true
		}
	}
	return false
}

// soften makes what was found about a pod that is left alone no reason to refuse it.
func (m *mutation) soften(reason string) {
	for i := range m.ds {
		m.ds[i].Severity = min(m.ds[i].Severity, diag.Warning)
		m.ds[i].Effect = "none as long as the pod is not injected: " + reason
	}
}

// checkPod refuses what would make a hole: a container that runs as the sidecar's
// user is taken for the sidecar, and its traffic leaves without it.
func (m *mutation) checkPod() {
	if m.opt.gateway || m.opt.noCapture {
		return
	}
	runsAsProxy := func(id *int64) bool { return id != nil && *id == int64(capture.DefaultProxyID) }
	podUser := m.pod.Spec.SecurityContext != nil && runsAsProxy(m.pod.Spec.SecurityContext.RunAsUser)
	podGroup := m.pod.Spec.SecurityContext != nil && runsAsProxy(m.pod.Spec.SecurityContext.RunAsGroup)
	for field, all := range map[string][]corev1.Container{"spec.containers": m.pod.Spec.Containers, "spec.initContainers": m.pod.Spec.InitContainers} {
		for i, c := range all {
			if c.Name == ProxyContainer || c.Name == InitContainer || c.Name == ValidateContainer {
				continue
			}
			user, group := podUser, podGroup
			if s := c.SecurityContext; s != nil {
				if s.RunAsUser != nil {
					user = runsAsProxy(s.RunAsUser)
				}
				if s.RunAsGroup != nil {
					group = runsAsProxy(s.RunAsGroup)
				}
			}
			if user || group {
				m.refuse(CodeConflict, fmt.Sprintf("%s[%d].securityContext", field, i),
					fmt.Sprintf("container %s runs as user or group %d, which is the sidecar's: its traffic would not be redirected", c.Name, capture.DefaultProxyID),
					"run it as another user and group")
			}
		}
	}
}
