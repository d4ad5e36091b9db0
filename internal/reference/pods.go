package reference

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// pods adds what the pods of a workload name.
func (c *collector) pods() {
	spec, path := podSpec(c.o)
	if spec == nil {
		return
	}
	ns := c.o.Key.Namespace
	c.named(path+".serviceAccountName", LossPods, resource.KindServiceAccount, ns, spec.ServiceAccountName)
	for i, p := range spec.ImagePullSecrets {
		c.named(at(path+".imagePullSecrets", i), LossPods, resource.KindSecret, ns, p.Name)
	}
	for i := range spec.Volumes {
		c.volume(at(path+".volumes", i), &spec.Volumes[i])
	}
	c.containers(path+".initContainers", spec.InitContainers)
	c.containers(path+".containers", spec.Containers)
}

func (c *collector) volume(path string, v *corev1.Volume) {
	ns := c.o.Key.Namespace
	if v.Secret != nil {
		c.named(path+".secret.secretName", LossPods, resource.KindSecret, ns, v.Secret.SecretName)
	}
	if v.ConfigMap != nil {
		c.named(path+".configMap.name", LossPods, resource.KindConfigMap, ns, v.ConfigMap.Name)
	}
	if v.Projected == nil {
		return
	}
	for i, s := range v.Projected.Sources {
		if s.Secret != nil {
			c.named(at(path+".projected.sources", i)+".secret.name", LossPods, resource.KindSecret, ns, s.Secret.Name)
		}
		if s.ConfigMap != nil {
			c.named(at(path+".projected.sources", i)+".configMap.name", LossPods, resource.KindConfigMap, ns, s.ConfigMap.Name)
		}
	}
}

func (c *collector) containers(path string, list []corev1.Container) {
	ns := c.o.Key.Namespace
	for i := range list {
		for j, e := range list[i].EnvFrom {
			field := at(at(path, i)+".envFrom", j)
			if e.SecretRef != nil {
				c.named(field+".secretRef.name", LossPods, resource.KindSecret, ns, e.SecretRef.Name)
			}
			if e.ConfigMapRef != nil {
				c.named(field+".configMapRef.name", LossPods, resource.KindConfigMap, ns, e.ConfigMapRef.Name)
			}
		}
		for j, e := range list[i].Env {
			if e.ValueFrom == nil {
				continue
			}
			field := at(at(path, i)+".env", j) + ".valueFrom"
			if r := e.ValueFrom.SecretKeyRef; r != nil {
				c.named(field+".secretKeyRef.name", LossPods, resource.KindSecret, ns, r.Name)
			}
			if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
				c.named(field+".configMapKeyRef.name", LossPods, resource.KindConfigMap, ns, r.Name)
			}
		}
	}
}

// podSpec is the pod that an object is or makes, and where it is written.
func podSpec(o *resource.Object) (*corev1.PodSpec, string) {
	const template = "spec.template.spec"
	switch s := o.Spec.(type) {
	case *corev1.Pod:
		return &s.Spec, "spec"
	case *appsv1.Deployment:
		return &s.Spec.Template.Spec, template
	case *appsv1.StatefulSet:
		return &s.Spec.Template.Spec, template
	case *appsv1.DaemonSet:
		return &s.Spec.Template.Spec, template
	case *appsv1.ReplicaSet:
		return &s.Spec.Template.Spec, template
	case *batchv1.Job:
		return &s.Spec.Template.Spec, template
	case *batchv1.CronJob:
		return &s.Spec.JobTemplate.Spec.Template.Spec, "spec.jobTemplate." + template
	default:
		return nil, ""
	}
}
