package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// WorkloadKey names a workload.
type WorkloadKey struct {
	Kind, Namespace, Name string
}

// String prints Kind namespace/name.
func (k WorkloadKey) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// Workload is a Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or bare Pod
// in one form.
type Workload struct {
	Key        WorkloadKey
	APIVersion string
	Source     *resource.Object
	Replicas   int
	Template   corev1.PodTemplateSpec
	Hash       string // of the template
	// MaxSurge and MaxUnavailable bound a rolling update, in pods.
	MaxSurge, MaxUnavailable int
	// Once: a pod that ended well is done; it is not started again.
	Once bool
	// BackoffLimit is how often a Once pod may fail.
	BackoffLimit int
}

// Workloads finds all workloads among objects, sorted by key. scale replaces
// the number of replicas that the object asks for.
func Workloads(objects []*resource.Object, scale map[WorkloadKey]int) ([]Workload, []diag.Diagnostic) {
	var all []Workload
	var ds []diag.Diagnostic
	for _, o := range objects {
		w, ok := fromObject(o)
		if !ok {
			if o.Key.Kind.Kind == "CronJob" {
				ds = append(ds, notRun(o, "spec.schedule", "CronJobs do not run on one machine", "use a Job, or run it on a cluster"))
			}
			continue
		}
		if o.Key.Namespace == "" {
			w.Key.Namespace = "default"
		}
		hash, err := templateHash(w.Template)
		if err != nil {
			ds = append(ds, notRun(o, "spec.template", err.Error(), "correct the template"))
			continue
		}
		w.Hash = hash
		if n, ok := scale[w.Key]; ok {
			w.Replicas = n
		}
		if w.Replicas < 0 || w.Replicas > MaxReplicas {
			ds = append(ds, notRun(o, replicasPath(w.Key.Kind), fmt.Sprintf("%d replicas: one machine runs 0 to %d of a workload", w.Replicas, MaxReplicas), "ask for fewer"))
			continue
		}
		problems := unsupported(o, w.Template.Spec, templatePath(w.Key.Kind))
		ds = append(ds, problems...)
		if worst, any := diag.Worst(problems); any && worst == diag.Error {
			continue
		}
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b Workload) int { return compareKeys(a.Key, b.Key) })
	return all, ds
}

// MaxReplicas bounds one workload: a machine is not a cluster.
const MaxReplicas = 500

func replicasPath(kind string) string {
	if kind == "Job" {
		return "spec.completions"
	}
	return "spec.replicas"
}

func compareKeys(a, b WorkloadKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// templatePath is where the pod's spec is in an object of the kind.
func templatePath(kind string) string {
	if kind == "Pod" {
		return "spec"
	}
	return "spec.template.spec"
}

func fromObject(o *resource.Object) (Workload, bool) {
	w := Workload{
		Key:        WorkloadKey{o.Key.Kind.Kind, o.Key.Namespace, o.Key.Name},
		APIVersion: o.APIVersion, Source: o, Replicas: 1, MaxSurge: 1,
	}
	switch s := o.Spec.(type) {
	case *appsv1.Deployment:
		w.Template = s.Spec.Template
		w.Replicas = orOne(s.Spec.Replicas)
		w.MaxSurge, w.MaxUnavailable = rolling(s.Spec.Strategy, w.Replicas)
	case *appsv1.ReplicaSet:
		w.Template = s.Spec.Template
		w.Replicas = orOne(s.Spec.Replicas)
	case *appsv1.StatefulSet:
		w.Template = s.Spec.Template
		w.Replicas = orOne(s.Spec.Replicas)
		// A pod of a StatefulSet keeps its name, so the old one goes first.
		w.MaxSurge, w.MaxUnavailable = 0, 1
	case *appsv1.DaemonSet:
		w.Template = s.Spec.Template
	case *batchv1.Job:
		w.Template = s.Spec.Template
		w.Once, w.BackoffLimit = true, 6
		if s.Spec.BackoffLimit != nil {
			w.BackoffLimit = int(*s.Spec.BackoffLimit)
		}
		if s.Spec.Completions != nil {
			w.Replicas = int(*s.Spec.Completions)
		}
	case *corev1.Pod:
		w.Template = corev1.PodTemplateSpec{Spec: s.Spec}
		w.Template.Labels, w.Template.Annotations = s.Labels, s.Annotations
		w.MaxSurge, w.MaxUnavailable = 0, 1
		w.Once = s.Spec.RestartPolicy == corev1.RestartPolicyNever || s.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
	default:
		return Workload{}, false
	}
	return w, true
}

func orOne(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}

// rolling resolves a Deployment's limits: 25% each by default, surge rounded
// up, unavailable down, never both zero.
func rolling(s appsv1.DeploymentStrategy, replicas int) (surge, unavailable int) {
	if s.Type == appsv1.RecreateDeploymentStrategyType {
		return 0, replicas
	}
	quarter := intstr.FromString("25%")
	maxSurge, maxUnavailable := &quarter, &quarter
	if s.RollingUpdate != nil && s.RollingUpdate.MaxSurge != nil {
		maxSurge = s.RollingUpdate.MaxSurge
	}
	if s.RollingUpdate != nil && s.RollingUpdate.MaxUnavailable != nil {
		maxUnavailable = s.RollingUpdate.MaxUnavailable
	}
	surge, errSurge := intstr.GetScaledValueFromIntOrPercent(maxSurge, replicas, true)
	unavailable, errUnavailable := intstr.GetScaledValueFromIntOrPercent(maxUnavailable, replicas, false)
	if errSurge != nil || errUnavailable != nil || surge < 0 || unavailable < 0 || surge+unavailable == 0 {
		return 1, 0
	}
	return surge, unavailable
}

// notRun is the finding about a workload that is left out.
func notRun(o *resource.Object, field, message, fix string) diag.Diagnostic {
	return diag.Diagnostic{
		Code: CodeUnsupported, Severity: diag.Error, Object: o.Ref(), Pos: o.At(field), Field: field,
		Message: message, Effect: "the workload is not started; the rest of the mesh runs", Fix: fix,
	}
}

// Codes of findings.
const (
	CodeUnsupported = "MSH0801" // part of a pod that one machine cannot do
	CodeIgnored     = "MSH0802" // part of a pod that has no effect on one machine
	CodeService     = "MSH0803" // a service that cannot be served as written
	CodeReference   = "MSH0804" // a ConfigMap, Secret or key that does not exist
)

// pods of a workload and where they come from

// PodSpec is one pod that should run.
type PodSpec struct {
	Namespace, Name string
	Workload        WorkloadKey
	APIVersion      string // of the workload
	Hash            string
	Index           int
	Labels          map[string]string
	Annotations     map[string]string
	Spec            corev1.PodSpec
	Injection       Injection
	Once            bool
	BackoffLimit    int
	Source          *resource.Object
}

// ID is namespace/name.
func (p PodSpec) ID() string { return p.Namespace + "/" + p.Name }

// ServiceAccount is the account the pod runs as.
func (p PodSpec) ServiceAccount() string {
	return cmp.Or(p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount, "default")
}

// pod makes the i-th pod of w.
func (w Workload) pod(i int, namespaceLabels map[string]string) PodSpec {
	p := PodSpec{
		Namespace: w.Key.Namespace, Workload: w.Key, APIVersion: w.APIVersion, Hash: w.Hash, Index: i,
		Labels: maps.Clone(w.Template.Labels), Annotations: maps.Clone(w.Template.Annotations),
		Spec: *w.Template.Spec.DeepCopy(), Once: w.Once, BackoffLimit: w.BackoffLimit, Source: w.Source,
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	end := suffix(hashOf(w.Key.String(), w.Hash, strconv.Itoa(i)), 5)
	switch w.Key.Kind {
	case "Pod":
		p.Name = w.Key.Name
	case "StatefulSet":
		p.Name = fmt.Sprintf("%s-%d", w.Key.Name, i)
		p.Labels["statefulset.kubernetes.io/pod-name"] = p.Name
		p.Labels["apps.kubernetes.io/pod-index"] = strconv.Itoa(i)
		p.Spec.Hostname = p.Name
	case "Deployment":
		p.Name = w.Key.Name + "-" + w.Hash + "-" + end
		p.Labels["pod-template-hash"] = w.Hash
	case "Job":
		p.Name = w.Key.Name + "-" + end
		p.Labels["job-name"], p.Labels["batch.kubernetes.io/job-name"] = w.Key.Name, w.Key.Name
	default:
		p.Name = w.Key.Name + "-" + end
	}
	p.Injection = Decide(namespaceLabels, p)
	labelInjected(&p, w.Key.Name)
	return p
}
