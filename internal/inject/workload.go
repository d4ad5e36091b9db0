package inject

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// cronJob is the name that a CronJob gives its jobs: its own and the minute.
var cronJob = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// ownerOf is the workload a pod belongs to: what a person wrote, not the
// ReplicaSet or Job in between.
func ownerOf(pod *corev1.Pod) Owner {
	for _, ref := range pod.OwnerReferences {
		if ref.Controller == nil || !*ref.Controller {
			continue
		}
		o := Owner{ref.APIVersion, ref.Kind, ref.Name}
		switch {
		case o.Kind == "ReplicaSet" && strings.HasPrefix(o.APIVersion, "apps/"):
			if hash := pod.Labels["pod-template-hash"]; hash != "" && strings.HasSuffix(o.Name, "-"+hash) {
				o.Kind, o.Name = "Deployment", strings.TrimSuffix(o.Name, "-"+hash)
			}
		case o.Kind == "Job":
			if m := cronJob.FindStringSubmatch(o.Name); m != nil {
				o.Kind, o.Name = "CronJob", m[1]
			}
		case o.Kind == "ReplicationController" && pod.Labels["deploymentconfig"] != "":
			o = Owner{"apps.openshift.io/v1", "DeploymentConfig", pod.Labels["deploymentconfig"]}
		}
		return o
	}
	return Owner{"v1", "Pod", cmp.Or(pod.Name, strings.TrimSuffix(pod.GenerateName, "-"))}
}

// ownerURL is the owner as Istio's telemetry writes it.
func (m *mutation) ownerURL() string {
	if m.owner.Name == "" || m.in.Namespace.Name == "" {
		return ""
	}
	plural := strings.ToLower(m.owner.Kind) + "s"
	return fmt.Sprintf("kubernetes://apis/%s/namespaces/%s/%s/%s", m.owner.APIVersion, m.in.Namespace.Name, plural, m.owner.Name)
}

// canonical is the service a workload counts as, and its version.
func (m *mutation) canonical() (name, revision string) {
	l := m.pod.Labels
	name = cmp.Or(l[labelCanonicalName], l["app.kubernetes.io/name"], l["app"], m.owner.Name)
	revision = cmp.Or(l[labelCanonicalRevision], l["app.kubernetes.io/version"], l["version"], "latest")
	return name, revision
}
