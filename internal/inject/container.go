package inject

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshctl/meshctl/internal/capture"
)

// program is where the image has it; there is no shell to look for it.
const program = "/usr/local/bin/meshproxy"

const (
	readinessPort  = 15021
	prometheusPort = 15090
)

// addProxy adds the container istio-proxy: last, or first where the application has
// to wait for it, or among the init containers as a native sidecar.
func (m *mutation) addProxy() {
	c := m.proxyContainer()
	m.takeOver(&c)
	if m.opt.native {
		always := corev1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
		m.pod.Spec.InitContainers = append(m.pod.Spec.InitContainers, c)
		m.added.InitContainers = append(m.added.InitContainers, c.Name)
		return
	}
	m.pod.Spec.Containers = append(m.pod.Spec.Containers, c)
	m.added.Containers = append(m.added.Containers, c.Name)
}

func (m *mutation) proxyContainer() corev1.Container {
	v := m.in.Values.Global
	role := "sidecar"
	if m.opt.gateway {
		role = "router"
	}
	c := corev1.Container{
		Name: ProxyContainer, Image: m.opt.image, ImagePullPolicy: corev1.PullPolicy(v.ImagePullPolicy),
		Args: append([]string{"proxy", role, "--domain", "$(POD_NAMESPACE).svc." + v.Proxy.ClusterDomain}, m.logArgs()...),
		Ports: []corev1.ContainerPort{
			{Name: "http-envoy-prom", ContainerPort: prometheusPort, Protocol: corev1.ProtocolTCP},
		},
		Env:             m.env(),
		Resources:       m.opt.resources,
		VolumeMounts:    m.proxyMounts(),
		SecurityContext: m.plainSecurity(),
		Lifecycle:       m.lifecycle(),
	}
	m.addProbes(&c)
	return c
}

// plainSecurity is that of a container with no rights at all.
func (m *mutation) plainSecurity() *corev1.SecurityContext {
	id := new(int64(capture.DefaultProxyID))
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Privileged: new(false), ReadOnlyRootFilesystem: new(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		RunAsNonRoot: new(true), RunAsUser: id, RunAsGroup: id,
		SeccompProfile: m.seccomp(),
	}
}

// seccomp is the profile of the values; charts write {} for none, which the API
// server would refuse.
func (m *mutation) seccomp() *corev1.SeccompProfile {
	if p := m.in.Values.Global.Proxy.SeccompProfile; p != nil && p.Type != "" {
		return p
	}
	return nil
}

func (m *mutation) logArgs() []string {
	v, a := m.in.Values.Global, m.pod.Annotations
	pick := func(annotation, value string) string {
		if s := a[annotation]; s != "" {
			return s
		}
		return value
	}
	args := []string{"--proxyLogLevel=" + pick(annLogLevel, v.Proxy.LogLevel)}
	if s := pick(annComponentLog, v.Proxy.ComponentLogLevel); s != "" {
		args = append(args, "--proxyComponentLogLevel="+s)
	}
	args = append(args, "--log_output_level="+pick(annAgentLogLevel, v.Logging.Level))
	if v.LogAsJSON {
		args = append(args, "--log_as_json")
	}
	return args
}

// lifecycle ties the proxy's life to the application's: a native sidecar stops
// taking new work as soon as the pod is told to end, and ends after the others;
// otherwise the application's start may wait for the proxy.
func (m *mutation) lifecycle() *corev1.Lifecycle {
	hook := func(args ...string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: append([]string{program}, args...)}}
	}
	switch {
	case m.in.Values.Global.Proxy.Lifecycle != nil:
		return m.in.Values.Global.Proxy.Lifecycle.DeepCopy()
	case m.opt.native:
		status := strconv.Itoa(int(m.opt.statusPort))
		if m.opt.statusPort == 0 {
			status = strconv.Itoa(int(m.opt.proxyConfig.GetStatusPort()))
		}
		return &corev1.Lifecycle{PreStop: hook("request", "--debug-port="+status, "POST", "drain")}
	case m.opt.hold && !m.opt.gateway:
		return &corev1.Lifecycle{PostStart: hook("wait")}
	default:
		return nil
	}
}

func (m *mutation) addProbes(c *corev1.Container) {
	if m.opt.statusPort == 0 {
		return
	}
	v := m.in.Values.Global.Proxy
	count := func(annotation string, value int32) int32 {
		if n, err := strconv.ParseInt(m.pod.Annotations[annotation], 10, 32); err == nil {
			return int32(n)
		}
		return value
	}
	ready := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: intstr.FromInt32(readinessPort)}}
	c.ReadinessProbe = &corev1.Probe{
		ProbeHandler: ready, TimeoutSeconds: 3,
		InitialDelaySeconds: count(annReadyDelay, v.ReadinessInitialDelaySeconds),
		PeriodSeconds:       count(annReadyPeriod, v.ReadinessPeriodSeconds),
		FailureThreshold:    count(annReadyFailures, v.ReadinessFailureThreshold),
	}
	// A native sidecar's startup probe is what holds the others back.
	if m.opt.native || v.StartupProbe.Enabled {
		c.StartupProbe = &corev1.Probe{ProbeHandler: ready, TimeoutSeconds: 3, PeriodSeconds: 1, FailureThreshold: v.StartupProbe.FailureThreshold}
	}
}
