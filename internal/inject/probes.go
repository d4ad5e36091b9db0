package inject

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// envProbers carries what the kubelet's questions were before they were pointed at
// the agent: the agent asks them in its place. The kubelet has no certificate, and
// under strict mTLS the application would not answer it.
const envProbers = "ISTIO_KUBE_APP_PROBERS"

// prober is one question, by the path under which the agent is asked it.
type prober struct {
	HTTPGet        *corev1.HTTPGetAction   `json:"httpGet,omitempty"`
	TCPSocket      *corev1.TCPSocketAction `json:"tcpSocket,omitempty"`
	GRPC           *corev1.GRPCAction      `json:"grpc,omitempty"`
	TimeoutSeconds int32                   `json:"timeoutSeconds,omitempty"`
}

// rewriteProbes points probes and lifecycle hooks of the application's containers
// at the agent. Exec ones run in the container and stay.
func (m *mutation) rewriteProbes() {
	if !m.opt.rewrite {
		return
	}
	probers := map[string]prober{}
	for _, all := range [][]corev1.Container{m.pod.Spec.InitContainers, m.pod.Spec.Containers} {
		for i := range all {
			c := &all[i]
			if c.Name == ProxyContainer || c.Name == InitContainer || c.Name == ValidateContainer {
				continue
			}
			m.rewriteContainer(c, probers)
		}
	}
	if len(probers) == 0 {
		return
	}
	b, err := json.Marshal(probers)
	if err != nil {
		return // what was decoded encodes
	}
	m.setProxyEnv(envProbers, string(b))
}

func (m *mutation) rewriteContainer(c *corev1.Container, probers map[string]prober) {
	for _, p := range []struct {
		probe *corev1.Probe
		path  string
	}{{c.ReadinessProbe, "readyz"}, {c.LivenessProbe, "livez"}, {c.StartupProbe, "startupz"}} {
		if p.probe == nil {
			continue
		}
		path := fmt.Sprintf("/app-health/%s/%s", c.Name, p.path)
		h := &p.probe.ProbeHandler
		pr := prober{HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket, GRPC: h.GRPC, TimeoutSeconds: p.probe.TimeoutSeconds}
		if !m.resolve(c, &pr) {
			continue
		}
		probers[path] = pr
		// gRPC and TCP probes become HTTP ones, whose answer carries the outcome.
		*h = corev1.ProbeHandler{HTTPGet: m.agentAction(path, h.HTTPGet)}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, hk := range []struct {
		hook *corev1.LifecycleHandler
		path string
	}{{c.Lifecycle.PostStart, "poststartz"}, {c.Lifecycle.PreStop, "prestopz"}} {
		if hk.hook == nil {
			continue
		}
		path := fmt.Sprintf("/app-lifecycle/%s/%s", c.Name, hk.path)
		pr := prober{HTTPGet: hk.hook.HTTPGet, TCPSocket: hk.hook.TCPSocket}
		if !m.resolve(c, &pr) {
			continue
		}
		probers[path] = pr
		*hk.hook = corev1.LifecycleHandler{HTTPGet: m.agentAction(path, hk.hook.HTTPGet)}
	}
}

// agentAction asks the agent; the headers go along, since some applications answer by them.
func (m *mutation) agentAction(path string, was *corev1.HTTPGetAction) *corev1.HTTPGetAction {
	a := &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(m.opt.statusPort)}
	if was != nil {
		a.HTTPHeaders = was.HTTPHeaders
		a.Host = was.Host
	}
	return a
}

// resolve makes ports numbers, and reports whether the question is one for the agent.
func (m *mutation) resolve(c *corev1.Container, p *prober) bool {
	switch {
	case p.HTTPGet != nil:
		n, ok := portNumber(c, p.HTTPGet.Port)
		if !ok || n == m.opt.statusPort || p.HTTPGet.Host != "" {
			return false // of another host: not this application's
		}
		p.HTTPGet = p.HTTPGet.DeepCopy()
		p.HTTPGet.Port = intstr.FromInt32(n)
	case p.TCPSocket != nil:
		n, ok := portNumber(c, p.TCPSocket.Port)
		if !ok || p.TCPSocket.Host != "" {
			return false
		}
		p.TCPSocket = p.TCPSocket.DeepCopy()
		p.TCPSocket.Port = intstr.FromInt32(n)
	case p.GRPC != nil:
	default:
		return false
	}
	return true
}

// portNumber finds a port by the name the container gave it. One that nobody has is
// left to the kubelet, whose event says so.
func portNumber(c *corev1.Container, p intstr.IntOrString) (int32, bool) {
	if p.Type == intstr.Int {
		return p.IntVal, true
	}
	for _, cp := range c.Ports {
		if cp.Name == p.StrVal {
			return cp.ContainerPort, true
		}
	}
	return 0, false
}

// setProxyEnv sets a variable of the proxy, wherever it is by now.
func (m *mutation) setProxyEnv(name, value string) {
	for _, all := range [][]corev1.Container{m.pod.Spec.Containers, m.pod.Spec.InitContainers} {
		i := container(all, ProxyContainer)
		if i < 0 {
			continue
		}
		for j := range all[i].Env {
			if all[i].Env[j].Name == name {
				return // the user's own word on it
			}
		}
		all[i].Env = append(all[i].Env, corev1.EnvVar{Name: name, Value: value})
	}
}
