package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// daemons are the programs that run for as long as the cluster does.
var daemons = []string{"load-balancer", "etcd", "kube-apiserver", "containerd", "kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler"}

// patience is how long any step of the start may take; the machine may be busy.
const patience = 3 * time.Minute

// boot starts everything on a node that has its files, and waits.
func (c *Cluster) boot(ctx context.Context) error {
	began := time.Now()
	c.booted = began.Truncate(time.Second) // the API has no finer times
	if err := c.remember(); err != nil {
		return err
	}
	if err := c.node().Make(ctx); err != nil {
		return err
	}
	if err := c.startControlPlane(); err != nil {
		return err
	}
	// kubelet gives up when there is no containerd yet.
	if err := c.start("containerd", "--config="+c.path("conf", "containerd.toml")); err != nil {
		return err
	}
	if err := c.loadOwnImages(ctx); err != nil {
		return err
	}
	if err := wait(ctx, "the API server", c.apiReady); err != nil {
		return c.failed(err)
	}
	if err := errors.Join(c.startControllers(), c.startNode()); err != nil {
		return err
	}
	if err := wait(ctx, "CoreDNS's objects", c.applyDNS); err != nil {
		return c.failed(err)
	}
	if err := wait(ctx, "the node and CoreDNS", c.ready); err != nil {
		return c.failed(err)
	}
	c.say("ready after %s", time.Since(began).Round(time.Second/10))
	return nil
}

// failed says where to look.
func (c *Cluster) failed(err error) error {
	return fmt.Errorf("%w (logs are in %s)", err, c.path("log"))
}

func (c *Cluster) start(name string, args ...string) error {
	program := c.Programs + "/" + name
	if name == "etcd" || name == "containerd" {
		program = name
	}
	return c.node().Start(name, append([]string{program}, args...)...)
}

func (c *Cluster) startControlPlane() error {
	pki := func(name string) string { return c.path("pki", name) }
	err := c.start("etcd", "--data-dir="+c.path("etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380")
	return errors.Join(err, c.start("kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address="+c.address().String(),
		"--service-cluster-ip-range="+join(c.serviceRanges()),
		"--allow-privileged",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--client-ca-file="+pki("ca.crt"),
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--kubelet-client-certificate="+pki("apiserver-kubelet.crt"), "--kubelet-client-key="+pki("apiserver-kubelet.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc."+domain,
		"--service-account-key-file="+pki("service-account.crt"),
		"--service-account-signing-key-file="+pki("service-account.key"),
		"--requestheader-client-ca-file="+pki("ca.crt"),
		// Without it every certificate of the authority would be a proxy's.
		"--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+pki("front-proxy.crt"), "--proxy-client-key-file="+pki("front-proxy.key"),
	))
}

func (c *Cluster) startControllers() error {
	common := func(name string) []string {
		return []string{"--kubeconfig=" + c.path("conf", name+".kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1"}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return errors.Join(
		c.node().Start("load-balancer", self, "--name", c.Name, "load-balancer"),
		c.start("kube-controller-manager", append(common("kube-controller-manager"),
			"--use-service-account-credentials", // the roles are theirs
			"--root-ca-file="+c.path("pki", "ca.crt"),
			"--service-account-private-key-file="+c.path("pki", "service-account.key"),
			"--cluster-signing-cert-file="+c.path("pki", "ca.crt"), "--cluster-signing-key-file="+c.path("pki", "ca.key"))...),
		c.start("kube-scheduler", common("kube-scheduler")...),
	)
}

func (c *Cluster) startNode() error {
	return errors.Join(
		c.start("kubelet", "--config="+c.path("conf", "kubelet.yaml"), "--kubeconfig="+c.path("conf", "kubelet.kubeconfig"),
			"--hostname-override="+nodeName, "--node-ip="+join(c.addresses())),
		c.start("kube-proxy", "--config="+c.path("conf", "kube-proxy.yaml")),
	)
}

// wait repeats a question until it is answered, or patience ends with the last
// reason why not.
func wait(ctx context.Context, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *Cluster) apiReady(ctx context.Context) error {
	_, err := c.get(ctx, "/readyz")
	return err
}

// ready tells whether the node is, and CoreDNS, by what they said and not by what
// the API remembers from before a reboot.
func (c *Cluster) ready(ctx context.Context) error {
	var node struct {
		Status struct {
			Conditions []struct {
				Type, Status, Message string
				LastHeartbeatTime     time.Time
			}
		}
	}
	if err := c.getJSON(ctx, "/api/v1/nodes/"+nodeName, &node); err != nil {
		return err
	}
	for _, cond := range node.Status.Conditions {
		switch {
		case cond.LastHeartbeatTime.Before(c.booted):
			return errors.New("kubelet has not said anything yet")
		case cond.Type == "Ready" && cond.Status != "True":
			return fmt.Errorf("the node is not ready: %s", cond.Message)
		}
	}
	var pods struct {
		Items []struct {
			Status struct {
				ContainerStatuses []struct {
					Ready bool
					State struct{ Running struct{ StartedAt time.Time } }
				}
			}
		}
	}
	if err := c.getJSON(ctx, "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns", &pods); err != nil {
		return err
	}
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			if s.Ready && !s.State.Running.StartedAt.Before(c.booted) {
				return nil
			}
		}
	}
	return errors.New("CoreDNS is not ready")
}

func (c *Cluster) getJSON(ctx context.Context, path string, into any) error {
	b, err := c.get(ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (c *Cluster) get(ctx context.Context, path string) ([]byte, error) {
	return c.request(ctx, http.MethodGet, path, nil)
}

// request asks the API server as the administrator; a body is a merge patch.
func (c *Cluster) request(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	cert, err := tls.LoadX509KeyPair(c.path("pki", "admin.crt"), c.path("pki", "admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(c.path("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, c.server()+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", path, resp.Status, b)
	}
	return b, err
}
