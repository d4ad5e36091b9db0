package controller

import (
	"cmp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodObject is the Pod as a cluster's API server would show it.
func PodObject(p Pod, nodeName, hostIP string) *corev1.Pod {
	owner := p.owner()
	o := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID),
			Labels: p.Labels, Annotations: p.Annotations,
		},
		Spec: p.Spec,
	}
	if owner != nil {
		o.OwnerReferences = []metav1.OwnerReference{*owner}
		o.GenerateName = strings.TrimSuffix(p.Name, lastPart(p.Name))
	}
	if !p.Started.IsZero() {
		o.CreationTimestamp = metav1.NewTime(p.Started)
	}
	o.Spec.NodeName = nodeName
	o.Spec.ServiceAccountName = p.ServiceAccount()
	o.Status = corev1.PodStatus{
		Phase:   cmp.Or(p.Phase, corev1.PodPending),
		HostIP:  hostIP,
		Reason:  p.Reason,
		Message: p.Message,
	}
	if p.IP.IsValid() {
		o.Status.PodIP = p.IP.String()
		o.Status.PodIPs = []corev1.PodIP{{IP: p.IP.String()}}
	}
	if !p.Started.IsZero() {
		t := metav1.NewTime(p.Started)
		o.Status.StartTime = &t
	}
	o.Status.Conditions = conditions(p)
	for _, c := range p.Containers {
		o.Status.ContainerStatuses = append(o.Status.ContainerStatuses, containerStatus(c))
	}
	return o
}

func lastPart(name string) string {
	return name[strings.LastIndexByte(name, '-')+1:]
}

// owner is the controller of the pod. A Deployment owns its pods through a
// ReplicaSet, and the control plane relies on that to find the workload's name.
func (p Pod) owner() *metav1.OwnerReference {
	ref := metav1.OwnerReference{APIVersion: p.APIVersion, Kind: p.Workload.Kind, Name: p.Workload.Name, Controller: new(true)}
	switch p.Workload.Kind {
	case "Pod":
		return nil
	case "Deployment":
		ref.Kind, ref.Name = "ReplicaSet", p.Workload.Name+"-"+p.Hash
	}
	ref.UID = types.UID(uid(ref.Kind, p.Namespace, ref.Name))
	return &ref
}

func conditions(p Pod) []corev1.PodCondition {
	is := func(b bool) corev1.ConditionStatus {
		if b {
			return corev1.ConditionTrue
		}
		return corev1.ConditionFalse
	}
	return []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
		{Type: corev1.PodInitialized, Status: is(p.Phase != "" && p.Phase != corev1.PodPending)},
		{Type: corev1.ContainersReady, Status: is(p.Ready)},
		{Type: corev1.PodReady, Status: is(p.Ready)},
	}
}

func containerStatus(c ContainerStatus) corev1.ContainerStatus {
	s := corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, Ready: c.Ready, RestartCount: int32(c.Restarts), Started: new(c.Running),
	}
	switch {
	case c.Running:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.Started)}
	case c.Reason == "Completed" || c.Reason == "Error":
		s.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: int32(c.ExitCode), Reason: c.Reason, Message: c.Message}
	default:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: c.Reason, Message: c.Message}
	}
	return s
}

// NewUID is the identity of the n-th run of a pod of this name.
func NewUID(p PodSpec, run int) string { return uid("Pod", p.Namespace, p.Name, strconv.Itoa(run)) }
