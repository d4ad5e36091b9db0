package controller

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// unsupported names everything in a pod that cannot be done on one machine.
// What only places or limits a pod (resources, affinity, tolerations) has no
// meaning here and is passed over.
func unsupported(o *resource.Object, spec corev1.PodSpec, path string) []diag.Diagnostic {
	var ds []diag.Diagnostic
	refuse := func(field, what, fix string) { ds = append(ds, notRun(o, path+"."+field, what, fix)) }
	ignore := func(field, what string) {
		ds = append(ds, diag.Diagnostic{
			Code: CodeIgnored, Severity: diag.Info, Object: o.Ref(), Pos: o.At(path + "." + field), Field: path + "." + field,
			Message: what, Effect: "the workload runs without it",
		})
	}
	if len(spec.Containers) == 0 {
		refuse("containers", "the pod has no container", "add one")
	}
	if spec.HostNetwork {
		refuse("hostNetwork", "hostNetwork: pods of a local mesh have a network of their own", "remove hostNetwork")
	}
	if spec.HostPID || spec.HostIPC {
		refuse("hostPID", "hostPID and hostIPC do not exist on one machine", "remove them")
	}
	for i, v := range spec.Volumes {
		if kind := volumeKind(v.VolumeSource); kind == "" {
			refuse(fmt.Sprintf("volumes[%d]", i),
				fmt.Sprintf("volume %q is of a kind that one machine does not have", v.Name),
				"use emptyDir, hostPath, configMap, secret, downwardAPI or projected")
		}
	}
	for i, c := range spec.InitContainers {
		field := fmt.Sprintf("initContainers[%d]", i)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			refuse(field+".restartPolicy", fmt.Sprintf("init container %q runs for ever (restartPolicy Always), which is not supported", c.Name), "make it a container")
		}
		checkContainer(c, field, refuse, ignore)
	}
	for i, c := range spec.Containers {
		checkContainer(c, fmt.Sprintf("containers[%d]", i), refuse, ignore)
	}
	return ds
}

func checkContainer(c corev1.Container, field string, refuse func(field, what, fix string), ignore func(field, what string)) {
	for i, e := range c.Env {
		at := fmt.Sprintf("%s.env[%d]", field, i)
		if e.ValueFrom == nil {
			continue
		}
		if e.ValueFrom.ResourceFieldRef != nil {
			refuse(at, fmt.Sprintf("environment variable %s asks for a resource limit; there are none on one machine", e.Name), "give a value")
		}
		if e.ValueFrom.FileKeyRef != nil {
			refuse(at, fmt.Sprintf("environment variable %s comes from a file (fileKeyRef), which is not supported", e.Name), "use configMapKeyRef or a value")
		}
	}
	for i, m := range c.VolumeMounts {
		if m.SubPathExpr != "" {
			refuse(fmt.Sprintf("%s.volumeMounts[%d].subPathExpr", field, i), "subPathExpr is not supported", "use subPath")
		}
	}
	if len(c.VolumeDevices) > 0 {
		refuse(field+".volumeDevices", "there are no block devices on one machine", "remove volumeDevices")
	}
	if c.Lifecycle != nil {
		if h := c.Lifecycle.PostStart; h != nil && h.TCPSocket != nil {
			refuse(field+".lifecycle.postStart", "a hook with tcpSocket does nothing", "use exec or httpGet")
		}
		if h := c.Lifecycle.PreStop; h != nil && h.TCPSocket != nil {
			refuse(field+".lifecycle.preStop", "a hook with tcpSocket does nothing", "use exec or httpGet")
		}
	}
	if s := c.SecurityContext; s != nil {
		if s.Privileged != nil && *s.Privileged {
			refuse(field+".securityContext.privileged", "privileged containers do not run in a local mesh", "remove privileged")
		}
		if s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem {
			ignore(field+".securityContext.readOnlyRootFilesystem", "the file tree is the machine's, with your own rights")
		}
		if s.Capabilities != nil && len(s.Capabilities.Add) > 0 {
			refuse(field+".securityContext.capabilities.add", "containers of a local mesh cannot be given more rights", "remove the added capabilities")
		}
	}
}

// volumeKind names the kind of volume, "" when it is not supported.
func volumeKind(v corev1.VolumeSource) string {
	switch {
	case v.EmptyDir != nil:
		return "emptyDir"
	case v.HostPath != nil:
		return "hostPath"
	case v.ConfigMap != nil:
		return "configMap"
	case v.Secret != nil:
		return "secret"
	case v.DownwardAPI != nil:
		return "downwardAPI"
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.ClusterTrustBundle != nil || s.PodCertificate != nil {
				return ""
			}
		}
		return "projected"
	default:
		return ""
	}
}
