package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/injection"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/resource"
)

// clusterHome is a mesh on a cluster.
type clusterHome struct {
	*kube.Client
	root string // namespace of the control plane
}

func core(plural string) schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(plural)
}

func (c clusterHome) group(ctx context.Context, namespace, name string) (*resource.Object, error) {
	info := resource.InfoOf(resource.KindWorkloadGroup)
	api := c.Dynamic.Resource(schema.GroupVersionResource{Group: info.Kind.Group, Version: info.Versions[0], Resource: info.Plural}).Namespace(namespace)
	u, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, c.missing(ctx, namespace, name)
	}
	if err != nil {
		return nil, c.Explain(err, "read WorkloadGroup "+namespace+"/"+name)
	}
	u.SetManagedFields(nil)
	raw, err := u.MarshalJSON()
	if err != nil {
		return nil, err
	}
	objects, ds := resource.Decode("", raw, resource.Options{})
	if len(objects) != 1 {
		e := exit.Dataf("WorkloadGroup %s/%s cannot be used", namespace, name)
		if len(ds) > 0 {
			e = e.Because(ds[0])
		}
		return nil, e
	}
	return objects[0], nil
}

func (c clusterHome) missing(ctx context.Context, namespace, name string) error {
	info := resource.InfoOf(resource.KindWorkloadGroup)
	list, err := c.Dynamic.Resource(schema.GroupVersionResource{Group: info.Kind.Group, Version: info.Versions[0], Resource: info.Plural}).
		Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 100})
	if apierrors.IsNotFound(err) {
		return exit.Failuref("the cluster has no kind WorkloadGroup").Because(errors.New("no mesh is installed there")).Try("meshctl install")
	}
	var there []string
	if err == nil {
		for i := range list.Items {
			there = append(there, list.Items[i].GetName())
		}
	}
	return missingGroup(namespace, name, there)
}

func (c clusterHome) join(ctx context.Context, o *ConfigureOptions, namespace, account string) (joining, error) {
	j := joining{
		cluster: "Kubernetes", domain: "cluster.local",
		discovery: injection.Name("istiod", o.Revision) + "." + c.root + ".svc:15012",
	}
	for _, step := range []func(context.Context, *ConfigureOptions, *joining) error{c.readMesh, c.readNetwork, c.readAddress} {
		if err := step(ctx, o, &j); err != nil {
			return j, err
		}
	}
	var err error
	if j.root, err = c.rootCert(ctx, namespace); err != nil {
		return j, err
	}
	j.token, err = c.token(ctx, namespace, account, o.TokenSeconds)
	return j, err
}

// readMesh takes what the mesh config says of proxies.
func (c clusterHome) readMesh(ctx context.Context, o *ConfigureOptions, j *joining) error {
	name := injection.Name("istio", o.Revision)
	text, err := injection.ConfigMap(ctx, c.Client, c.root, name, "mesh")
	if err != nil {
		return err
	}
	mesh, err := injection.Mesh("ConfigMap "+c.root+"/"+name, []byte(text))
	if err != nil {
		return err
	}
	if mesh.GetTrustDomain() != "" {
		j.domain = mesh.GetTrustDomain()
	}
	var written struct {
		DefaultConfig map[string]any `json:"defaultConfig"`
	}
	if err := yaml.Unmarshal([]byte(text), &written); err != nil {
		return exit.Dataf("ConfigMap %s/%s cannot be used", c.root, name).Because(err)
	}
	j.config = written.DefaultConfig
	if a, ok := j.config["discoveryAddress"].(string); ok && a != "" {
		j.discovery = a
	}
	j.meshID, _ = j.config["meshId"].(string)
	j.meshID = cmp.Or(j.meshID, j.domain)
	return nil
}

// readNetwork is that of the cluster: a machine is in it unless its group says otherwise.
func (c clusterHome) readNetwork(ctx context.Context, _ *ConfigureOptions, j *joining) error {
	ns, err := c.Dynamic.Resource(core("namespaces")).Get(ctx, c.root, metav1.GetOptions{})
	if err != nil {
		return c.Explain(err, "read namespace "+c.root)
	}
	j.network = ns.GetLabels()["topology.istio.io/network"]
	return nil
}

// readAddress finds where a machine reaches the control plane.
func (c clusterHome) readAddress(ctx context.Context, o *ConfigureOptions, j *joining) error {
	if o.IngressIP != "" {
		j.address = o.IngressIP
		return nil
	}
	u, err := c.Dynamic.Resource(core("services")).Namespace(c.root).Get(ctx, o.IngressService, metav1.GetOptions{})
	why := ""
	switch {
	case apierrors.IsNotFound(err):
		why = "there is no Service " + c.root + "/" + o.IngressService
	case err != nil:
		return c.Explain(err, "read Service "+c.root+"/"+o.IngressService)
	default:
		ingress, _, _ := unstructured.NestedSlice(u.Object, "status", "loadBalancer", "ingress")
		for _, x := range ingress {
			if m, ok := x.(map[string]any); ok {
				if ip, _ := m["ip"].(string); ip != "" {
					j.address = ip
					return nil
				}
			}
		}
		why = "Service " + c.root + "/" + o.IngressService + " has no address of a load balancer"
	}
	j.warnings = append(j.warnings, fmt.Sprintf("hosts is empty: %s; the machine has to resolve %s by itself, or give --ingressIP", why, j.discovery))
	return nil
}

func (c clusterHome) rootCert(ctx context.Context, namespace string) (string, error) {
	const name, key = "istio-ca-root-cert", "root-cert.pem"
	u, err := c.Dynamic.Resource(core("configmaps")).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		if text, _, _ := unstructured.NestedString(u.Object, "data", key); text != "" {
			return text, nil
		}
	}
	if err == nil || apierrors.IsNotFound(err) {
		return "", exit.Failuref("namespace %s has no root certificate of the mesh", namespace).
			Because(fmt.Errorf("ConfigMap %s/%s has no %s; a control plane that runs writes it", namespace, name, key)).
			Try("meshctl verify-install").Try("kubectl get namespace %s", namespace)
	}
	return "", c.Explain(err, "read ConfigMap "+namespace+"/"+name)
}

// token asks the API server for a token of the service account.
func (c clusterHome) token(ctx context.Context, namespace, account string, seconds int64) (string, error) {
	accounts := c.Dynamic.Resource(core("serviceaccounts")).Namespace(namespace)
	u, err := accounts.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": account},
		"spec": map[string]any{"audiences": []any{identity.TokenAudience}, "expirationSeconds": seconds},
	}}, metav1.CreateOptions{}, "token")
	if apierrors.IsNotFound(err) {
		return "", exit.Failuref("there is no service account %s/%s", namespace, account).
			Try("kubectl create serviceaccount %s -n %s", account, namespace).Try("name another in the group's template.serviceAccount")
	}
	if err != nil {
		return "", c.Explain(err, fmt.Sprintf("make a token of service account %s/%s", namespace, account))
	}
	text, _, _ := unstructured.NestedString(u.Object, "status", "token")
	if text == "" {
		return "", exit.Failuref("the API server made no token of service account %s/%s", namespace, account)
	}
	return text, nil
}
