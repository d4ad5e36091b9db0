package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/pod"
)

// startPod starts a pod, or says why it cannot be.
func (r *Runtime) startPod(ctx context.Context, spec controller.PodSpec) []diag.Diagnostic {
	r.mu.Lock()
	cp := r.cp
	r.mu.Unlock()
	if cp.Tokens == nil && spec.Injection == controller.Sidecar {
		spec.Injection = controller.NoProxy
	}
	programs, findings := r.programs(ctx, spec)
	var proxy *pod.Proxy
	if spec.Injection != controller.NoProxy {
		c, wrong := r.captureOf(cp, spec)
		findings = append(findings, wrong...)
		proxy = &pod.Proxy{
			Program: cp.Proxy, Discovery: cp.Discovery, MeshID: cp.MeshID, TrustDomain: cp.TrustDomain,
			RootCertPEM: cp.RootCertPEM, Config: cp.ProxyConfig, Capture: c, Image: "meshproxy",
			ClusterID: cp.ClusterID,
		}
		if proxy.Envoy, wrong = envoyOf(cp, spec); proxy.Envoy != "" {
			proxy.Image = "meshproxy-envoy"
		}
		findings = append(findings, wrong...)
		if proxy.ClusterID == "" {
			proxy.ClusterID = "Kubernetes"
		}
	}
	if worst, any := diag.Worst(findings); any && worst == diag.Error {
		return findings
	}
	ip, ok := r.freeIP()
	if !ok {
		return append(findings, diag.Diagnostic{
			Code: controller.CodeUnsupported, Severity: diag.Error, Object: spec.Source.Ref(), Pos: spec.Source.Pos,
			Message: "no pod address is free", Effect: "the pod is not started", Fix: "run fewer replicas",
		})
	}
	r.runs[spec.ID()]++
	log := r.opts.Log.With("component", "pod", "pod", spec.ID())
	p := pod.New(pod.Config{
		Spec: spec, UID: controller.NewUID(spec, r.runs[spec.ID()]), IP: ip,
		NodeName: r.opts.NodeName, Domain: r.opts.Domain, Network: r.opts.Network,
		Dir: filepath.Join(r.opts.Dir, "pods", spec.Namespace+"_"+spec.Name), HideDir: r.opts.Dir,
		LogDir:  filepath.Join(r.opts.Dir, "logs", spec.Namespace+"_"+spec.Name),
		HostEnv: r.opts.HostEnv, Programs: programs, Configs: liveConfigs{r}, Proxy: proxy,
		Token: func() (string, error) {
			if cp.Tokens == nil {
				return "", errors.New("there is no control plane that issues tokens")
			}
			return cp.Tokens.Issue(spec.Namespace, spec.ServiceAccount(), spec.Name)
		},
		Services: func() []*corev1.Service { return r.servicesOf(spec.Namespace) },
		Settle:   r.opts.Settle, Log: log,
		Event:   func(warning bool, kind, message string) { r.feed.add(warning, kind, "Pod "+spec.ID(), message) },
		Changed: r.wake,
	})
	r.mu.Lock()
	r.pods[spec.ID()] = p
	r.mu.Unlock()
	r.feed.add(false, "PodStarted", "Pod "+spec.ID(), "address "+ip.String())
	go func() {
		p.Run()
		r.wake()
	}()
	return findings
}

// programs finds what to execute for each container.
func (r *Runtime) programs(ctx context.Context, spec controller.PodSpec) (map[string]image.Program, []diag.Diagnostic) {
	all := map[string]image.Program{}
	var findings []diag.Diagnostic
	path := "spec.template.spec"
	if spec.Workload.Kind == "Pod" {
		path = "spec"
	}
	r.mu.Lock()
	resolver := r.resolver
	r.mu.Unlock()
	find := func(list string, containers []corev1.Container) {
		for i, c := range containers {
			p, d := resolver.Resolve(ctx, image.Container{
				Name: c.Name, Image: c.Image, Command: c.Command, Field: fmt.Sprintf("%s.%s[%d]", path, list, i),
				Annotations: spec.Annotations, Object: spec.Source,
			})
			if d != nil {
				findings = append(findings, *d)
				continue
			}
			all[c.Name] = p
		}
	}
	find("initContainers", spec.Spec.InitContainers)
	if spec.Injection != controller.Gateway {
		find("containers", spec.Spec.Containers)
	}
	return all, findings
}

// envoyOf is the Envoy of a pod that is to have one; "" for the native data plane.
func envoyOf(cp ControlPlane, spec controller.PodSpec) (string, []diag.Diagnostic) {
	plane, err := inject.PodDataPlane(spec.Annotations, cmp.Or(cp.DataPlane, inject.Native))
	fix := "correct the annotation"
	if err == nil && plane == inject.Envoy && cp.Envoy == "" {
		err = errors.New("its data plane is to be an Envoy, and this mesh has no Envoy program")
		fix = "start the mesh with --envoy PATH (MESH_ENVOY, or envoy in PATH), or take the annotation away"
	}
	if err == nil {
		if plane == inject.Envoy {
			return cp.Envoy, nil
		}
		return "", nil
	}
	field := fmt.Sprintf("spec.template.metadata.annotations[%s]", inject.AnnotationDataPlane)
	return "", []diag.Diagnostic{{
		Code: controller.CodeUnsupported, Severity: diag.Error, Object: spec.Source.Ref(), Pos: spec.Source.At(field),
		Field: field, Message: err.Error(), Effect: "the workload is not started", Fix: fix,
	}}
}

// captureOf is what of the pod's traffic is redirected.
func (r *Runtime) captureOf(cp ControlPlane, spec controller.PodSpec) (capture.Config, []diag.Diagnostic) {
	base := capture.Default()
	base.ProxyUIDs, base.ProxyGIDs, base.ProxyMark = nil, nil, pod.DefaultMark
	base.DNSCapture = true
	base.Nameservers = []netip.Addr{r.opts.Network.Gateway()}
	base.ExcludeOutboundRanges = cp.ExcludeOutbound
	c, wrong := capture.FromAnnotations(base, spec.Annotations)
	var findings []diag.Diagnostic
	for _, w := range wrong {
		field := fmt.Sprintf("spec.template.metadata.annotations[%s]", w.Annotation)
		findings = append(findings, diag.Diagnostic{
			Code: controller.CodeUnsupported, Severity: diag.Error, Object: spec.Source.Ref(), Pos: spec.Source.At(field),
			Field: field, Message: w.Error(), Effect: "the workload is not started, so that no traffic goes around the mesh", Fix: "correct the annotation",
		})
	}
	return c, findings
}

// freeIP is the next address that no pod has. Addresses are reused as late as
// possible, since others may still know the old holder.
func (r *Runtime) freeIP() (netip.Addr, bool) {
	r.mu.Lock()
	used := map[netip.Addr]bool{}
	for _, p := range r.pods {
		used[p.Status().IP] = true
	}
	r.mu.Unlock()
	for range len(used) + 2 { // one of so many is free, the return to the first included
		ip, ok := r.opts.Network.PodAddress(r.lastIP)
		if !ok {
			r.lastIP = 0
			continue
		}
		r.lastIP++
		if !used[ip] {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// servicesOf are the services of a namespace, as they are now.
func (r *Runtime) servicesOf(namespace string) []*corev1.Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*corev1.Service
	for _, s := range r.services {
		if s.Namespace == namespace {
			out = append(out, s)
		}
	}
	return out
}
