package install

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/plural"
)

// controlPlane looks at the installation itself; false ends the checks.
func (c *checker) controlPlane(ctx context.Context) bool {
	c.category("istio-existence")
	missing, err := c.missingDefinitions(ctx)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%d are missing: %s", len(missing), strings.Join(missing, ", "))
	}
	c.judge("the definitions of the mesh's resources are there", err, "meshctl install")
	planes, err := c.i.ControlPlanes(ctx)
	if !c.judge("can see control planes", err, "") {
		return false
	}
	if len(planes) == 0 {
		return c.judge("a control plane is installed", errors.New("there is none"), "meshctl install")
	}
	found := false
	for _, p := range planes {
		if c.in.Revision != "" && p.Revision != c.in.Revision {
			continue
		}
		found = true
		name := fmt.Sprintf("control plane %s (%s/%s, %s) ", p.Revision, p.Namespace, p.Name, cmp.Or(p.Version, p.Image))
		var why error
		if !p.Ready {
			why = errors.New(p.Reason)
		}
		c.judge(name+"is ready", why, "kubectl -n "+p.Namespace+" describe deployment "+p.Name)
		if !p.Ours || c.in.Version == "" {
			continue // another's versions are not to be compared with ours
		}
		skew := ""
		if p.Version != c.in.Version {
			skew = fmt.Sprintf("it is %s, and this program %s", p.Version, c.in.Version)
		}
		c.warn(name+"has the version of this program", skew, "meshctl upgrade, or the meshctl of that version")
	}
	if !found {
		c.judge("revision "+c.in.Revision+" is installed", errors.New("it is not"), "meshctl install --revision "+c.in.Revision)
	}
	history, err := c.i.History(ctx, c.in.Namespace, "")
	if c.judge("can read the history of installations", err, "") {
		problem := ""
		for _, r := range history {
			if r.Status == StatusPending {
				problem = fmt.Sprintf("record %d of revision %s was begun and not finished", r.Number, r.Revision)
			}
		}
		c.warn("no installation is half done", problem, "run the same install again, or meshctl rollback")
	}
	return true
}

func (c *checker) missingDefinitions(ctx context.Context) ([]string, error) {
	var missing []string
	for _, o := range c.in.Release.Objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		live, err := c.i.get(ctx, o.Unstructured)
		if err != nil {
			return nil, err
		}
		if live == nil {
			missing = append(missing, o.GetName())
		}
	}
	return missing, nil
}

// webhooks looks whether they can be called.
func (c *checker) webhooks(ctx context.Context) {
	c.category("istio-webhooks")
	hooks, err := c.i.list(ctx, mutatingKind, "", "app=sidecar-injector")
	if !c.judge("can see the injection webhooks", err, "") {
		return
	}
	if len(hooks) == 0 {
		c.judge("there is an injection webhook", errors.New("there is none: no pod gets a sidecar"), "meshctl install")
	}
	for _, h := range hooks {
		c.judge(h.GetName()+" can be called", c.callable(ctx, h), "kubectl -n "+c.in.Namespace+" logs deploy/istiod: the control plane puts the certificate in")
	}
}

// callable: a webhook has a certificate to trust, and somebody behind its Service.
func (c *checker) callable(ctx context.Context, h *unstructured.Unstructured) error {
	list, _, _ := unstructured.NestedSlice(h.Object, "webhooks")
	for _, each := range list {
		m, _ := each.(map[string]any)
		if stringAt(m, "clientConfig", "caBundle") == "" && stringAt(m, "clientConfig", "url") == "" {
			return errors.New("it has no caBundle yet, so the API server cannot trust it: pods that ask for a sidecar are refused")
		}
		service := mapAt(m, "clientConfig", "service")
		if service == nil {
			continue
		}
		found, err := c.i.list(ctx, schema.GroupVersionKind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
			stringAt(service, "namespace"), "kubernetes.io/service-name="+stringAt(service, "name"))
		if err != nil {
			return err
		}
		if !anyReady(found) {
			return fmt.Errorf("nobody is ready behind its Service %s/%s: pods that ask for a sidecar are refused", stringAt(service, "namespace"), stringAt(service, "name"))
		}
		return nil
	}
	return nil
}

func anyReady(slices []*unstructured.Unstructured) bool {
	for _, s := range slices {
		endpoints, _, _ := unstructured.NestedSlice(s.Object, "endpoints")
		for _, e := range endpoints {
			if m, ok := e.(map[string]any); ok && boolAt(m, "conditions", "ready") {
				return true
			}
		}
	}
	return false
}

// warnBefore is how long before its end a root certificate is worth a warning.
const warnBefore = 30 * 24 * time.Hour

// certificates looks at the root that proxies trust.
func (c *checker) certificates(ctx context.Context) {
	c.category("istio-certificates")
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "istio-ca-root-cert", "namespace": c.in.Namespace}}}
	live, err := c.i.get(ctx, u)
	if err == nil && live == nil {
		err = errors.New("ConfigMap istio-ca-root-cert is not there, and sidecars cannot start without")
	}
	if !c.judge("the root certificate is given to namespaces", err, "kubectl -n "+c.in.Namespace+" logs deploy/istiod") {
		return
	}
	text, _, _ := unstructured.NestedString(live.Object, "data", "root-cert.pem")
	end, err := firstEnd([]byte(text))
	if err == nil && !c.i.Now().Before(end) {
		err = fmt.Errorf("it ended on %s", end.Format(time.DateOnly))
	}
	if c.judge("the root certificate is valid", err, "give a new one in Secret cacerts") {
		problem := ""
		if left := end.Sub(c.i.Now()); left < warnBefore {
			problem = fmt.Sprintf("it ends on %s, in %d days", end.Format(time.DateOnly), int(left.Hours()/24))
		}
		c.warn("the root certificate is valid for 30 days at least", problem, "give a new one in Secret cacerts")
	}
}

// firstEnd is when the first of some certificates ends.
func firstEnd(text []byte) (time.Time, error) {
	var first time.Time
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return first, fmt.Errorf("read the root certificate: %w", err)
		}
		if first.IsZero() || cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	if first.IsZero() {
		return first, errors.New("there is no certificate in it")
	}
	return first, nil
}

// dataPlane looks at pods with a sidecar.
func (c *checker) dataPlane(ctx context.Context) {
	c.category("istio-data-plane")
	pods, err := c.i.list(ctx, podKind, "", "")
	if !c.judge("can see pods", err, "") {
		return
	}
	injected, notReady := 0, []string{}
	for _, p := range pods {
		if _, ok := injectedRevision(p); !ok || p.GetDeletionTimestamp() != nil {
			continue
		}
		injected++
		if phase := stringAt(p.Object, "status", "phase"); phase != "Succeeded" && !proxyReady(p) {
			notReady = append(notReady, p.GetName()+"."+p.GetNamespace())
		}
	}
	var bad error
	if len(notReady) > 0 {
		bad = fmt.Errorf("%d of %d are not: %s", len(notReady), injected, first(notReady, 5))
	}
	c.judge("the proxies of "+plural.Of(injected, "pod")+" are ready", bad, "kubectl describe pod, and kubectl logs -c istio-proxy")
	work, err := c.i.Workloads(ctx, "")
	if c.judge("can see workloads", err, "") {
		var old []string
		for _, w := range work {
			if w.Outdated != "" {
				old = append(old, strings.ToLower(w.Kind)+"/"+w.Name+"."+w.Namespace)
			}
		}
		problem := ""
		if len(old) > 0 {
			problem = plural.Of(len(old), "workload") + " not: " + first(old, 5)
		}
		c.warn("proxies are up to date", problem, "meshctl restart --outdated")
	}
}

func first(all []string, n int) string {
	if len(all) > n {
		return strings.Join(all[:n], ", ") + " …"
	}
	return strings.Join(all, ", ")
}

func proxyReady(p *unstructured.Unstructured) bool {
	for _, list := range []string{"containerStatuses", "initContainerStatuses"} {
		all, _, _ := unstructured.NestedSlice(p.Object, "status", list)
		for _, each := range all {
			if m, ok := each.(map[string]any); ok && stringAt(m, "name") == "istio-proxy" {
				return boolAt(m, "ready")
			}
		}
	}
	return false
}

// gateways looks whether they can be reached from outside.
func (c *checker) gateways(ctx context.Context) {
	services, err := c.i.list(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Service"}, "", labelComponent+"="+IngressGateway)
	if err != nil || len(services) == 0 {
		return
	}
	c.category("istio-gateways")
	for _, s := range services {
		problem := ""
		addresses, _, _ := unstructured.NestedSlice(s.Object, "status", "loadBalancer", "ingress")
		if stringAt(s.Object, "spec", "type") == "LoadBalancer" && len(addresses) == 0 {
			problem = "its Service has no address: this cluster has nobody who gives one to Services of type LoadBalancer, or not yet"
		}
		c.warn(fmt.Sprintf("gateway %s/%s has an address", s.GetNamespace(), s.GetName()), problem,
			fmt.Sprintf("kubectl -n %s port-forward svc/%s 8080:80, or --set values.gateways.%s.type=NodePort", s.GetNamespace(), s.GetName(), "istio-ingressgateway"))
	}
}
