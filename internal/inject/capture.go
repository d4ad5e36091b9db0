package inject

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/resource"
)

// trafficValues are the mesh's values in the form of a pod's annotations, so that
// both are read by the same rules.
func (m *mutation) trafficValues() map[string]string {
	p := m.in.Values.Global.Proxy
	a := map[string]string{}
	for name, v := range map[string]Scalar{
		"includeOutboundIPRanges": p.IncludeIPRanges, "excludeOutboundIPRanges": p.ExcludeIPRanges,
		"includeInboundPorts": p.IncludeInboundPorts, "excludeInboundPorts": p.ExcludeInboundPorts,
		"includeOutboundPorts": p.IncludeOutboundPorts, "excludeOutboundPorts": p.ExcludeOutboundPorts,
	} {
		if v != "" {
			a[trafficPrefix+name] = string(v)
		}
	}
	return a
}

// readCapture settles what is redirected.
func (m *mutation) readCapture() {
	base := capture.Default()
	// The agent serves its port whether or not the kubelet asks there.
	base.ExcludeInboundPorts = []uint16{uint16(cmp.Or(m.opt.proxyConfig.GetStatusPort(), 15020)), readinessPort, prometheusPort}
	slices.Sort(base.ExcludeInboundPorts)
	if p := m.in.Mesh.GetProxyListenPort(); p != 0 {
		base.OutboundPort = uint16(p)
	}
	if p := m.in.Mesh.GetProxyInboundListenPort(); p != 0 {
		base.InboundPort = uint16(p)
	}
	base.DNSCapture = m.dnsCapture()
	base, wrong := capture.FromAnnotations(base, m.trafficValues())
	for _, w := range wrong {
		m.refuse(CodeBadAnnotation, "", "install value "+w.Error(), "")
	}
	if m.pod.Annotations[annInterception] == "" && m.opt.proxyConfig.GetInterceptionMode().String() == "NONE" {
		base.Mode = capture.None
	}
	c, wrong := capture.FromAnnotations(base, m.pod.Annotations)
	for _, w := range wrong {
		fix := ""
		if near := resource.Nearest(w.Annotation, capture.Annotations()); near != w.Annotation && near != "" {
			fix = "did you mean " + near + "?"
		}
		m.refuse(CodeBadAnnotation, annotationField(w.Annotation), w.Error(), fix)
	}
	m.opt.capture = c
	m.opt.noCapture = c.Mode == capture.None
}

func (m *mutation) dnsCapture() bool {
	on, err := strconv.ParseBool(m.opt.proxyConfig.GetProxyMetadata()["ISTIO_META_DNS_CAPTURE"])
	return err == nil && on
}

// captureArgs are meshproxy capture's, with the names of Istio's program for it.
func captureArgs(c capture.Config) []string {
	args := []string{
		"capture",
		"-p", port(c.OutboundPort), "-z", port(c.InboundPort), "-u", strconv.Itoa(int(capture.DefaultProxyID)),
		"-m", string(c.Mode), "-i", ranges(c.IncludeOutboundRanges), "-x", joinRanges(c.ExcludeOutboundRanges),
		"-b", portsOrAll(c.IncludeInboundPorts), "-d", joinPorts(c.ExcludeInboundPorts),
	}
	for _, o := range []struct {
		flag, value string
	}{
		{"-q", joinPorts(c.IncludeOutboundPorts)}, {"-o", joinPorts(c.ExcludeOutboundPorts)}, {"-c", strings.Join(c.ExcludeInterfaces, ",")},
	} {
		if o.value != "" {
			args = append(args, o.flag, o.value)
		}
	}
	if c.DNSCapture {
		args = append(args, "--redirect-dns")
	}
	return args
}

func port(p uint16) string { return strconv.Itoa(int(p)) }

func joinPorts(ports []uint16) string {
	all := make([]string, len(ports))
	for i, p := range ports {
		all[i] = port(p)
	}
	return strings.Join(all, ",")
}

func portsOrAll(p capture.Ports) string {
	if p.All {
		return "*"
	}
	return joinPorts(p.List)
}

func joinRanges(list []netip.Prefix) string {
	all := make([]string, len(list))
	for i, p := range list {
		all[i] = p.String()
	}
	return strings.Join(all, ",")
}

func ranges(r capture.Ranges) string {
	if r.All {
		return "*"
	}
	return joinRanges(r.List)
}

// addCapture adds the init container: the one that writes the rules, which needs
// rights over the pod's network, or, where a CNI plugin writes them, one without
// rights that checks it has.
func (m *mutation) addCapture() {
	if m.opt.gateway || m.opt.noCapture {
		return
	}
	v := m.in.Values.Global
	c := corev1.Container{
		Name: InitContainer, Image: m.opt.image, ImagePullPolicy: corev1.PullPolicy(v.ImagePullPolicy),
		Args: captureArgs(m.opt.capture),
	}
	if v.ProxyInit.Image != "" {
		c.Image = m.in.Values.image(v.ProxyInit.Image)
	}
	if r := cmp.Or(v.ProxyInit.Resources, v.Proxy.Resources); r != nil {
		c.Resources = *r.DeepCopy()
	}
	if m.opt.cni {
		c.Name = ValidateContainer
		c.Args = append(c.Args, "--check")
		c.SecurityContext = m.plainSecurity()
	} else {
		c.SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: &m.opt.privileged, Privileged: &m.opt.privileged,
			Capabilities:           &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}, Drop: []corev1.Capability{"ALL"}},
			ReadOnlyRootFilesystem: new(false), RunAsNonRoot: new(false), RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)),
		}
	}
	m.takeOver(&c)
	m.pod.Spec.InitContainers = append(m.pod.Spec.InitContainers, c)
	m.added.InitContainers = append(m.added.InitContainers, c.Name)
}
