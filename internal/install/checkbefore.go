package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/resource"
)

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
		c.gatewayAPI(live)
	}
}

// gatewayAPI judges the release of the definitions of the Gateway API by that of Gateway.
func (c *checker) gatewayAPI(live *unstructured.Unstructured) {
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
