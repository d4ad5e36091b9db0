package install

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/resource"
)

// Mark is the outcome of a check.
type Mark string

// Marks, in linkerd's words.
const (
	Success Mark = "success"
	Warning Mark = "warning"
	Bad     Mark = "error"
)

// Codes of what precheck finds, Istio's; each has a page in docs/diagnostics.
const (
	codeRights       = "IST0141"
	codeOldCluster   = "IST0142"
	codeOldGateway   = "IST0156"
	codeChanges      = "IST0169"
	codeAgingGateway = "IST0172"
)

// Check is one thing that was looked at.
type Check struct {
	Description string `json:"description"`
	Result      Mark   `json:"result"`
	Error       string `json:"error,omitempty"`
	Hint        string `json:"hint,omitempty"`
	// Code leads to a page about what was found, for some.
	Code string `json:"code,omitempty"`
}

// Category is checks that belong together. Later ones are not made when a fatal
// one of an earlier category fails.
type Category struct {
	Name   string  `json:"categoryName"`
	Checks []Check `json:"checks"`
}

// CheckInput says what is to be checked.
type CheckInput struct {
	Namespace string
	Revision  string
	Release   Release // what would be installed, for the rights
	// Before looks only at what an installation needs.
	Before bool
	// Version is that of this program's images, for the skew.
	Version string
}

// checker collects results.
type checker struct {
	i    *Installer
	in   CheckInput
	all  []Category
	last *Category
}

func (c *checker) category(name string) {
	c.all = append(c.all, Category{Name: name})
	c.last = &c.all[len(c.all)-1]
}

func (c *checker) add(mark Mark, description, problem, hint string) {
	if mark == Success {
		problem, hint = "", ""
	}
	c.last.Checks = append(c.last.Checks, Check{Description: description, Result: mark, Error: problem, Hint: hint})
}

// code is that of the last check, if it is not well.
func (c *checker) code(code string) {
	if k := &c.last.Checks[len(c.last.Checks)-1]; k.Result != Success {
		k.Code = code
	}
}

// judge adds a check that is an error, or a success.
func (c *checker) judge(description string, err error, hint string) bool {
	if err == nil {
		c.add(Success, description, "", "")
		return true
	}
	var k *kube.Error
	if errors.As(err, &k) && len(k.Steps) > 0 {
		hint = k.Steps[0]
	}
	c.add(Bad, description, err.Error(), hint)
	return false
}

// warn adds a check that is a warning when there is a problem.
func (c *checker) warn(description, problem, hint string) {
	if problem == "" {
		c.add(Success, description, "", "")
		return
	}
	c.add(Warning, description, problem, hint)
}

// Check looks at a cluster, category by category, and stops where going on would
// tell nothing.
func (i *Installer) Check(ctx context.Context, in CheckInput) []Category {
	c := &checker{i: i, in: in}
	if !c.cluster(ctx) {
		return c.all
	}
	if in.Before {
		c.beforeInstall(ctx)
		return c.all
	}
	if c.controlPlane(ctx) {
		c.webhooks(ctx)
		c.certificates(ctx)
		c.dataPlane(ctx)
		c.gateways(ctx)
	}
	return c.all
}

// Healthy reports whether nothing is an error.
func Healthy(all []Category) bool {
	for _, c := range all {
		for _, k := range c.Checks {
			if k.Result == Bad {
				return false
			}
		}
	}
	return true
}

func (c *checker) cluster(ctx context.Context) bool {
	c.category("kubernetes-api")
	version, err := c.i.Client.Version(ctx)
	if !c.judge("can reach the cluster "+c.i.Client.Name(), err, "") {
		return false
	}
	ok := c.judge("the cluster runs Kubernetes "+version+", and "+kube.OldestVersion+" or later is needed", kube.CheckVersion(version), "upgrade the cluster")
	c.code(codeOldCluster)
	return ok
}

// beforeInstall looks at what an installation needs.
func (c *checker) beforeInstall(ctx context.Context) {
	c.category("pre-installation")
	planes, err := c.i.ControlPlanes(ctx)
	if c.judge("can see what is installed", err, "") {
		c.judge("no other installation is in the way", CheckInTheWay(c.in.Release, planes), "--revision NAME, to install beside it")
	}
	ns, err := c.i.get(ctx, namespaceObject(c.in.Namespace))
	switch {
	case err != nil:
		c.judge("can read namespace "+c.in.Namespace, err, "")
	case ns != nil && ns.GetDeletionTimestamp() != nil:
		c.judge("namespace "+c.in.Namespace+" can be used", errors.New("it is being deleted"), "wait until it is gone")
	case ns != nil && ns.GetLabels()["pod-security.kubernetes.io/enforce"] == "restricted":
		c.warn("namespace "+c.in.Namespace+" can be used", "it enforces the restricted Pod Security Standard, which the CNI agent breaks", "put components.cni into another namespace")
	default:
		c.add(Success, "namespace "+c.in.Namespace+" can be used", "", "")
	}
	c.rights(ctx)
	c.definitions(ctx)
	c.meshConfig(ctx)
	c.room(ctx)
}

// rights asks for every kind that the release has whether it may be applied.
func (c *checker) rights(ctx context.Context) {
	seen := map[string]bool{}
	var missing []kube.Right
	for _, o := range c.in.Release.Objects {
		k := o.GroupVersionKind()
		m, err := c.i.Client.Mapper.RESTMapping(k.GroupKind(), k.Version)
		if err != nil {
			continue // its definition comes with the release
		}
		for _, verb := range []string{"get", "create", "patch", "delete"} {
			r := kube.Right{Verb: verb, Resource: m.Resource.Resource, Group: m.Resource.Group, Namespace: o.GetNamespace()}
			if seen[r.String()] {
				continue
			}
			seen[r.String()] = true
			ok, err := c.i.may(ctx, r)
			if err != nil {
				c.judge("can ask for your rights", err, "")
				return
			}
			if !ok {
				missing = append(missing, r)
			}
		}
	}
	var err error
	if len(missing) > 0 {
		err = errors.New("you may not:\n" + strings.Join(byResource(missing), "\n"))
	}
	c.judge("you have the rights to install", err, "ask the cluster's administrator for cluster-admin, or for the rights named")
	c.code(codeRights)
}

// byResource is one line for each resource, with the verbs that are missing.
func byResource(all []kube.Right) []string {
	var order []kube.Right
	verbs := map[kube.Right][]string{}
	for _, r := range all {
		verb := r.Verb
		r.Verb = ""
		if verbs[r] == nil {
			order = append(order, r)
		}
		verbs[r] = append(verbs[r], verb)
	}
	var lines []string
	for _, r := range order {
		key := r
		r.Verb = strings.Join(verbs[key], ",")
		lines = append(lines, r.String())
	}
	return lines
}

var reviewKind = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}

// may asks the cluster whether we may do something.
func (i *Installer) may(ctx context.Context, r kube.Right) (bool, error) {
	resource, sub, _ := strings.Cut(r.Resource, "/")
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{
			"verb": r.Verb, "group": r.Group, "resource": resource, "subresource": sub, "namespace": r.Namespace,
		}},
	}}
	out, err := i.Client.Dynamic.Resource(reviewKind).Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, i.Client.Explain(err, "ask for your rights")
	}
	allowed, _, _ := unstructured.NestedBool(out.Object, "status", "allowed")
	return allowed, nil
}

// gatewayVersion is the version that Gateways of the Gateway API are read in.
const gatewayVersion = "v1"

// definitions looks at the kinds that others may have brought.
func (c *checker) definitions(ctx context.Context) {
	live, err := c.i.get(ctx, crdObject("gateways.gateway.networking.k8s.io"))
	switch {
	case err != nil:
		c.judge("can read definitions", err, "")
	case live == nil:
		c.warn("the Gateway API is installed", "its kinds are not known here, so Gateways and HTTPRoutes of it cannot be used", "kubectl apply -f the standard-install.yaml of kubernetes-sigs/gateway-api, if you want them")
	default:
		version := live.GetAnnotations()[resource.AnnotationBundleVersion]
		served := servedVersions(live)
		title := "the Gateway API is installed (" + cmp.Or(version, "unknown version") + ")"
		const hint = "kubectl apply -f the standard-install.yaml of kubernetes-sigs/gateway-api, " + resource.LeastGatewayAPI + " or later"
		switch {
		case !slices.Contains(served, gatewayVersion):
			c.judge(title, fmt.Errorf("it serves %s, and Gateways are read as %s: those of this cluster have no effect", strings.Join(served, ", "), gatewayVersion), hint)
			c.code(codeOldGateway)
		case resource.OldGatewayAPI(version):
			c.warn(title, "it works, and fields that came with "+resource.LeastGatewayAPI+" or before are lost when objects are applied; later releases of the mesh may not read it any more", hint)
			c.code(codeAgingGateway)
		default:
			c.add(Success, title, "", "")
		}
	}
}

// meshConfig looks at the mesh config of what is installed, whoever installed it, with
// the eyes of the version to come.
func (c *checker) meshConfig(ctx context.Context) {
	name := "istio"
	if r := c.in.Revision; r != "" && r != DefaultRevision {
		name += "-" + r
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": c.in.Namespace}}}
	live, err := c.i.get(ctx, u)
	switch {
	case err != nil:
		c.judge("can read the mesh config in ConfigMap "+name, err, "")
	case live != nil:
		text, _, _ := unstructured.NestedString(live.Object, "data", "mesh")
		c.warn("the mesh config in ConfigMap "+name+" means to this version what it meant", changes(text), "change these fields before the update, or be content with it")
		c.code(codeChanges)
	}
}

// changes says what a mesh config that is in force will no longer do, a line for each.
func changes(text string) string {
	_, found := resource.DecodeMeshConfig("", []byte(text))
	var lines []string
	for _, d := range found {
		if d.Severity == diag.Error || d.Severity == diag.Warning {
			lines = append(lines, d.Message+": "+d.Effect)
		}
	}
	return strings.Join(lines, "\n")
}

func crdObject(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": name}}}
}

// room looks whether a node could take the pods.
func (c *checker) room(ctx context.Context) {
	nodes, err := c.i.list(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Node"}, "", "")
	if err != nil {
		if apierrors.IsForbidden(err) {
			return // whoever may install need not see nodes
		}
		c.judge("can see the nodes", err, "")
		return
	}
	ready := 0
	for _, n := range nodes {
		unschedulable, _, _ := unstructured.NestedBool(n.Object, "spec", "unschedulable")
		if status, _ := condition(n, "Ready"); status == "True" && !unschedulable {
			ready++
		}
	}
	problem := ""
	if ready == 0 {
		problem = fmt.Sprintf("of %d nodes none is ready and takes pods", len(nodes))
	}
	c.warn("a node is ready to take pods", problem, "kubectl get nodes")
}

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
	c.judge("the proxies of "+Count(injected, "pod")+" are ready", bad, "kubectl describe pod, and kubectl logs -c istio-proxy")
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
			problem = Count(len(old), "workload") + " not: " + first(old, 5)
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
