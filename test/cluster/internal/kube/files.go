package kube

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/meshctl/meshctl/test/cluster/internal/pki"
	"github.com/meshctl/meshctl/test/cluster/internal/programs"
)

//go:embed files
var files embed.FS

// values are what the files of this folder have in them.
type values struct {
	Folder, Name, Node, Address, Any, CNI, DNS, Domain, Pause, CoreDNS string
	PodNetworks, DefaultRoutes                                         []string
}

func (c *Cluster) values() (values, error) {
	pods, err := c.podNetworks()
	return values{
		Folder: c.Folder, Name: c.Name, Node: nodeName, Address: c.address().String(), Any: of(c.Family, "0.0.0.0", "::")[0],
		CNI: programs.CNI, DNS: c.serviceOfDNS().String(), Domain: domain,
		PodNetworks: pods, DefaultRoutes: of(c.Family, "0.0.0.0/0", "::/0"),
		Pause: pauseImage, CoreDNS: corednsImage,
	}, err
}

func (c *Cluster) render(name string) ([]byte, error) {
	join := template.FuncMap{"join": strings.Join}
	t, err := template.New(name).Funcs(join).ParseFS(files, "files/"+name)
	if err != nil {
		return nil, err
	}
	values, err := c.values()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Option("missingkey=error").Execute(&out, values); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// writeFiles makes what the programs read when they start.
func (c *Cluster) writeFiles() error {
	plugins := c.node().Disk("/opt/cni")
	for name, to := range map[string]string{
		"containerd.toml": c.path("conf/containerd.toml"),
		"kubelet.yaml":    c.path("conf/kubelet.yaml"),
		"kube-proxy.yaml": c.path("conf/kube-proxy.yaml"),
		"cni.conflist":    c.node().Disk("/etc/cni/net.d/10-bridge.conflist"),
	} {
		b, err := c.render(name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			return err
		}
	}
	// Where installers of other plugins look for the folder.
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(plugins, "bin"), os.DirFS(programs.CNI)); err != nil {
		return err
	}
	// Pods get the cluster's name server and no other.
	if err := os.WriteFile(c.path("conf", "resolv.conf"), nil, 0o600); err != nil {
		return err
	}
	return c.writeCertificates()
}

func (c *Cluster) writeCertificates() error {
	ca, err := pki.New(c.path("pki"))
	if err != nil {
		return err
	}
	address := c.address().String()
	for _, i := range []struct {
		name, user    string
		groups, hosts []string
	}{
		{"apiserver", "kube-apiserver", nil, []string{
			address, c.serviceOfAPI().String(), "127.0.0.1", "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain,
		}},
		{"apiserver-kubelet", "kube-apiserver-kubelet", []string{"system:masters"}, nil},
		{"front-proxy", "front-proxy", nil, nil},
		{"service-account", "service-accounts", nil, nil},
		{"admin", "admin", []string{"system:masters"}, nil},
		{"kubelet", "system:node:" + nodeName, []string{"system:nodes"}, []string{address, nodeName}},
		{"kube-controller-manager", "system:kube-controller-manager", nil, nil},
		{"kube-scheduler", "system:kube-scheduler", nil, nil},
		{"kube-proxy", "system:kube-proxy", nil, nil},
	} {
		if err := ca.Issue(i.name, i.user, i.groups, i.hosts); err != nil {
			return err
		}
	}
	for user, to := range map[string]string{
		"admin":                   "kubeconfig",
		"kubelet":                 "conf/kubelet.kubeconfig",
		"kube-controller-manager": "conf/kube-controller-manager.kubeconfig",
		"kube-scheduler":          "conf/kube-scheduler.kubeconfig",
		"kube-proxy":              "conf/kube-proxy.kubeconfig",
	} {
		if err := c.writeKubeconfig(user, to); err != nil {
			return err
		}
	}
	return nil
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
  - name: %[1]s
    cluster:
      server: %[2]s
      certificate-authority-data: %[3]s
users:
  - name: %[4]s
    user:
      client-certificate-data: %[5]s
      client-key-data: %[6]s
contexts:
  - name: %[1]s
    context: {cluster: %[1]s, user: %[4]s}
current-context: %[1]s
`

func (c *Cluster) writeKubeconfig(user, to string) error {
	var parts [3]string
	for i, f := range []string{"ca.crt", user + ".crt", user + ".key"} {
		b, err := os.ReadFile(c.path("pki", f))
		if err != nil {
			return err
		}
		parts[i] = base64.StdEncoding.EncodeToString(b)
	}
	text := fmt.Sprintf(kubeconfig, c.Name, c.server(), parts[0], user, parts[1], parts[2])
	return os.WriteFile(c.path(to), []byte(text), 0o600)
}
