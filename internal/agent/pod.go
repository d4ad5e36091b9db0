package agent

import "strings"

// Where injection puts files into a pod.
const (
	podTokenFile       = "/var/run/secrets/tokens/istio-token"
	podRootFile        = "/var/run/secrets/istio/root-cert.pem"
	podLabelsFile      = "/etc/istio/pod/labels"
	podAnnotationsFile = "/etc/istio/pod/annotations"
	resolvConf         = "/etc/resolv.conf"
)

// extraMetadata are the ISTIO_META_* that the control plane is told as they come.
var extraMetadata = []string{
	"HTTP10", "IDLE_TIMEOUT", "AUTO_REGISTER_GROUP", "WORKLOAD_ENTRY", "UNPRIVILEGED_POD", "DNS_AUTO_ALLOCATE", "ROUTER_MODE",
	"REQUESTED_NETWORK_VIEW", "ENABLE_HBONE", "HTTP_PROXY_PORT",
}

// pod takes from where injection puts it what the environment does not say. Each
// may be absent: a machine outside of a cluster says everything by MESH_*.
func (l *loader) pod() {
	s := l.s
	there := func(to *string, file string) {
		if *to != "" {
			return
		}
		if _, err := l.readFile(file); err == nil {
			*to = file
		}
	}
	l.str(&s.TokenFile, "MESH_TOKEN_FILE")
	l.str(&s.RootCertFile, "MESH_ROOT_CERT_FILE")
	there(&s.TokenFile, podTokenFile)
	there(&s.RootCertFile, podRootFile)
	if s.Labels == nil {
		s.Labels = l.podInfo(podLabelsFile)
	}
	if s.Annotations == nil {
		s.Annotations = l.podInfo(podAnnotationsFile)
	}
	l.str(&s.CAAddress, "CA_ADDR")
	if s.Discovery == "" {
		s.Discovery = s.CAAddress
	}
	l.str(&s.ServerName, "ISTIOD_SAN")
	for _, name := range extraMetadata {
		if v := l.getenv("ISTIO_META_" + name); v != "" {
			if s.Extra == nil {
				s.Extra = map[string]string{}
			}
			s.Extra[name] = v
		}
	}
}

// podInfo reads a file of the downward API, if there is one.
func (l *loader) podInfo(file string) map[string]string {
	b, err := l.readFile(file)
	if err != nil {
		return nil
	}
	m, err := parseDownwardAPI(string(b))
	if err != nil {
		l.fail("%s: %v", file, err)
	}
	return m
}

// nameservers are those of the pod itself.
func (l *loader) nameservers() []string {
	b, err := l.readFile(resolvConf)
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" {
			all = append(all, f[1])
		}
	}
	return all
}
