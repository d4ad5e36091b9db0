//go:build e2e

package cluster

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/meshctl/meshctl/internal/identity"
)

// TestTwoClusters is a mesh of two clusters in one network, with a control plane in
// each: reviews v1 runs in one and v3 in the other, and a client gets both, over
// mutual TLS. That goes on while one API server is away, and ends with the Secret.
func TestTwoClusters(t *testing.T) {
	if !*long {
		t.Skip("takes minutes: run it with -long")
	}
	east, west := twoClusters(t, "10.245.0.0/16", func(string) []string { return nil })
	m := shared(t, east, west)
	m.reviewed(t, "v1", "v3")

	text, err := os.ReadFile(filepath.Join("/tmp", west.name, "log", "kube-apiserver.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the news that an API server is away", func() error {
		out := east.run(t, "meshctl", "remote-clusters")
		if !strings.Contains(out, "unreachable") {
			return fmt.Errorf("clusters are\n%s", out)
		}
		t.Logf("%s", out)
		return nil
	})
	m.reviewed(t, "v1", "v3")

	east.kubectl(t, "delete", "secret", "-n", "istio-system", "istio-remote-secret-"+west.name)
	m.reviewed(t, "v1")
}

// TestTwoNetworks is the same where pods of one cluster do not reach those of the
// other: what is between them are gateways that pass connections on by server name.
func TestTwoNetworks(t *testing.T) {
	if !*long {
		t.Skip("takes minutes: run it with -long")
	}
	east, west := twoClusters(t, eastPods, func(name string) []string { return []string{"--set", "values.global.network=net-" + name} })
	for _, c := range []*cluster{east, west} {
		c.kubectl(t, "apply", "-f", written(t, strings.ReplaceAll(eastWest, "NETWORK", "net-"+c.name)))
	}
	m := shared(t, east, west)
	m.reviewed(t, "v1", "v3")
}

// eastWest makes the ingress gateway of a cluster the one of its network, too.
const eastWest = `
apiVersion: v1
kind: Service
metadata: {name: eastwest, namespace: istio-system, labels: {topology.istio.io/network: NETWORK}}
spec:
  type: LoadBalancer
  selector: {istio: ingressgateway}
  ports: [{name: tls, port: 15443, targetPort: 15443}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross-network-gateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 15443, name: tls, protocol: TLS}
    hosts: ["*.local"]
    tls: {mode: AUTO_PASSTHROUGH}
`

const eastPods = "10.244.0.0/16"

// twoClusters are two with one certificate authority, the mesh, and Bookinfo; pods is
// the range of addresses of those in the west. With what else the mesh of a cluster is
// installed, flags says.
func twoClusters(t *testing.T, pods string, flags func(name string) []string) (east, west *cluster) {
	t.Helper()
	east = startNamed(t, "multi1", "--pods", eastPods)
	west = startNamed(t, "multi2", "--pods", pods)
	east.run(t, "cluster", "--name", east.name, "connect", west.name)
	ca, err := identity.NewSelfSignedCA(identity.CAOptions{Organization: "two clusters"})
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.Files()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"ca-cert.pem": files.Cert, "ca-key.pem": files.Key, "root-cert.pem": files.Roots, "cert-chain.pem": files.Cert} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*cluster{east, west} {
		c.kubectl(t, "create", "namespace", "istio-system")
		c.kubectl(t, "create", "secret", "generic", "cacerts", "-n", "istio-system", "--from-file="+dir)
		c.meshctl(t, append([]string{"install", "--set", "profile=demo", "--set", "values.global.multiCluster.clusterName=" + c.name, "-y"}, flags(c.name)...)...)
		c.kubectl(t, "label", "namespace", "default", "istio-injection=enabled")
		c.kubectl(t, "apply", "-f", samples+"/platform/kube/bookinfo.yaml")
	}
	return east, west
}

// shared joins two clusters, with strict mutual TLS, and divides Bookinfo: v3 of
// reviews, and the ratings that it wants, run in the west, the rest in the east.
func shared(t *testing.T, east, west *cluster) *mesh {
	t.Helper()
	for _, x := range [][2]*cluster{{east, west}, {west, east}} {
		x[1].kubectl(t, "apply", "-f", written(t, x[0].run(t, "meshctl", "create-remote-secret", "--name", x[0].name)))
	}
	east.kubectl(t, "scale", "--replicas=0", "deployment/reviews-v2", "deployment/reviews-v3")
	west.kubectl(t, "scale", "--replicas=0", "deployment/productpage-v1", "deployment/details-v1", "deployment/reviews-v1", "deployment/reviews-v2")
	strict := "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n"
	for _, c := range []*cluster{east, west} {
		c.kubectl(t, "apply", "-f", written(t, strict))
		c.rolledOut(t, "default")
		eventually(t, "synced clusters", func() error {
			out := c.run(t, "meshctl", "remote-clusters")
			if strings.Count(out, "synced") != 2 {
				return fmt.Errorf("they are\n%s", out)
			}
			return nil
		})
		c.meshctl(t, "remote-clusters")
	}
	for _, f := range []string{"bookinfo-gateway", "destination-rule-all"} {
		east.kubectl(t, "apply", "-f", networking+"/"+f+".yaml")
	}
	m := &mesh{cluster: east, url: fmt.Sprintf("http://%s:%d", east.node, east.nodePort(t, "istio-system", "istio-ingressgateway", 80))}
	answers(t, m.page(), http.StatusOK)
	return m
}

// written is a file with a text. What is made of it goes with its cluster.
func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startNamed is start of a cluster of that name, made with flags.
func startNamed(t *testing.T, name string, flags ...string) *cluster {
	t.Helper()
	c := &cluster{bin: os.Getenv("MESH_BIN"), name: name}
	t.Cleanup(func() { c.stop(t) })
	t.Log(c.run(t, "cluster", append(append([]string{"--name", name}, flags...), "up")...))
	c.load(t)
	return c
}

// reviewed waits until the versions of reviews that answer are those wanted, and then
// loads pages, none of which may fail.
func (m *mesh) reviewed(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("answers of reviews %v only", want), func() error {
		got, err := m.measure(t, 60, nil)
		if err == nil && !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
			err = fmt.Errorf("they are of %v", got)
		}
		return err
	})
	got, err := m.measure(t, 300, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("of 300 pages: %v", got)
}
