package meshd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// realCluster is a Kubernetes that MESH_KUBECONFIG leads to. No other control
// plane may run there: the root certificate goes to every namespace.
type realCluster struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	config  *rest.Config
	root    string // the root namespace, of this test alone
}

func newRealCluster(t *testing.T) *realCluster {
	t.Helper()
	file := os.Getenv("MESH_KUBECONFIG")
	if file == "" {
		t.Skip("MESH_KUBECONFIG leads to no cluster")
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	c := &realCluster{config: config, client: kubernetes.NewForConfigOrDie(config), dynamic: dynamic.NewForConfigOrDie(config)}
	ns, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "ks-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.root = ns.Name
	t.Cleanup(func() {
		if err := c.client.CoreV1().Namespaces().Delete(context.Background(), c.root, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	c.define(t)
	return c
}

// define installs Istio's kinds, as its API module has them.
func (c *realCluster) define(t *testing.T) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	api := c.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if _, err := api.Create(t.Context(), u, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// grant makes a service account with the rights that the control plane says it
// needs, and nothing else, and returns a kubeconfig of it.
func (c *realCluster) grant(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	account := metav1.ObjectMeta{Name: "istiod", Namespace: c.root}
	must(c.client.CoreV1().ServiceAccounts(c.root).Create(ctx, &corev1.ServiceAccount{ObjectMeta: account}, metav1.CreateOptions{}))
	var everywhere, root []rbacv1.PolicyRule
	for _, r := range Rights("default") {
		rule := rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: r.Resources, ResourceNames: r.Names, Verbs: r.Verbs}
		if r.Root {
			root = append(root, rule)
		} else {
			everywhere = append(everywhere, rule)
		}
	}
	wide := metav1.ObjectMeta{Name: c.root}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "istiod", Namespace: c.root}}
	rbac := c.client.RbacV1()
	must(rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: wide, Rules: everywhere}, metav1.CreateOptions{}))
	t.Cleanup(func() {
		_ = rbac.ClusterRoles().Delete(context.Background(), c.root, metav1.DeleteOptions{})
		_ = rbac.ClusterRoleBindings().Delete(context.Background(), c.root, metav1.DeleteOptions{})
	})
	must(rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: wide, Subjects: subjects, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: c.root},
	}, metav1.CreateOptions{}))
	must(rbac.Roles(c.root).Create(ctx, &rbacv1.Role{ObjectMeta: account, Rules: root}, metav1.CreateOptions{}))
	must(rbac.RoleBindings(c.root).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: account, Subjects: subjects, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "istiod"},
	}, metav1.CreateOptions{}))
	cluster := clientcmdapi.NewCluster()
	cluster.Server, cluster.CertificateAuthorityData = c.config.Host, c.config.CAData
	user := clientcmdapi.NewAuthInfo()
	user.Token = c.token(t, c.root, "istiod", "", "")
	where := clientcmdapi.NewContext()
	where.Cluster, where.AuthInfo = "c", "u"
	file := clientcmdapi.NewConfig()
	file.Clusters["c"], file.AuthInfos["u"], file.Contexts["c"], file.CurrentContext = cluster, user, where, "c"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// token asks for a token of a service account, bound to a pod if one is named.
func (c *realCluster) token(t *testing.T, namespace, account, pod, audience string) string {
	t.Helper()
	req := &authenticationv1.TokenRequest{}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	if pod != "" {
		p, err := c.client.CoreV1().Pods(namespace).Get(t.Context(), pod, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		req.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod, UID: p.UID}
	}
	got, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, req, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Status.Token
}

// workload makes a namespace with a Service, an address it is served at, and a
// pod with an account of its own.
func (c *realCluster) workload(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ns, err := c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "ks-shop-"}}, metav1.CreateOptions{})
	must(ns, err)
	t.Cleanup(func() {
		_ = c.client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	must(c.client.CoreV1().ServiceAccounts(ns.Name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "buyer"}}, metav1.CreateOptions{}))
	must(c.client.CoreV1().Services(ns.Name).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "reviews"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 9080}}},
	}, metav1.CreateOptions{}))
	name, port := "http", int32(9080)
	must(c.client.DiscoveryV1().EndpointSlices(ns.Name).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "reviews-1", Labels: map[string]string{discoveryv1.LabelServiceName: "reviews"}}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.77.0.1"}}},
	}, metav1.CreateOptions{}))
	must(c.client.CoreV1().Pods(ns.Name).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p1"},
		Spec:       corev1.PodSpec{ServiceAccountName: "buyer", Containers: []corev1.Container{{Name: "app", Image: "mesh.invalid/none", ImagePullPolicy: corev1.PullNever}}},
	}, metav1.CreateOptions{}))
	return ns.Name
}

// On a real API server, with exactly the rights that it says it needs.
func TestOnARealCluster(t *testing.T) {
	t.Parallel()
	c := newRealCluster(t)
	shop := c.workload(t)
	if _, err := c.client.CoreV1().ConfigMaps(c.root).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: injectorConfigMap}, Data: map[string]string{valuesKey: "{}"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := startReplica(t, c.grant(t), func(o *discoveryOptions) { o.namespace = c.root })
	r.ready(t)
	roots := func(namespace string) string {
		m, err := c.client.CoreV1().ConfigMaps(namespace).Get(t.Context(), rootConfigMap, metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return m.Data[rootKey]
	}
	secret, err := c.client.CoreV1().Secrets(c.root).Get(t.Context(), secretOwn, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.until(t, "the root certificate", func() bool { return roots(shop) == string(secret.Data["root-cert.pem"]) })
	stream := r.ads(t, secret.Data["root-cert.pem"], "p1", shop, c.token(t, shop, "buyer", "p1", "istio-ca"))
	host := "outbound|9080||reviews." + shop + ".svc.cluster.local"
	if names := receive(t, stream); !slices.Contains(names, host) {
		t.Errorf("clusters are %v", names)
	}
	// A kind of Istio's is followed, and what is broken is set aside.
	rules := c.dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}).Namespace(shop)
	rule := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": map[string]any{"name": "reviews"},
		"spec": map[string]any{"host": "reviews", "subsets": []any{map[string]any{"name": "v1", "labels": map[string]any{"version": "v1"}}}},
	}}
	if _, err := rules.Create(t.Context(), rule, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(host, "||", "|v1|", 1)
	for names := []string{}; !slices.Contains(names, want); {
		names = receive(t, stream)
	}
	// What is wrong with a resource stands in its status.
	rule = &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": map[string]any{"name": "broken"},
		"spec": map[string]any{"host": "bad host"},
	}}
	if _, err := rules.Create(t.Context(), rule, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until(t, "the status", func() bool {
		u, err := rules.Get(t.Context(), "broken", metav1.GetOptions{})
		if err != nil {
			return false
		}
		st, ok := readStatus(u)
		return ok && !st.Accepted.True && st.Accepted.Reason == "SetAside" && st.Reconciled.True
	})
	if _, err := r.ads(t, secret.Data["root-cert.pem"], "p1", shop, c.token(t, shop, "buyer", "p1", "")).Recv(); err == nil {
		t.Error("a token for the API server was taken")
	}
	for line := range strings.SplitSeq(r.logs.String(), "\n") {
		if strings.Contains(line, "forbidden") || strings.Contains(line, "may not read") || strings.Contains(line, "level=ERROR") {
			t.Error(line)
		}
	}
}

// receive takes one answer, acknowledges it and returns the names in it.
func receive(t *testing.T, stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) []string {
	t.Helper()
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range res.Resources {
		names = append(names, x.Name)
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: res.TypeUrl, ResponseNonce: res.Nonce}); err != nil {
		t.Fatal(err)
	}
	return names
}
