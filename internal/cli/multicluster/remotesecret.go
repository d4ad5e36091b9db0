package multicluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/kube"
)

// readerAccount is the service account of the base chart that other control planes
// read a cluster with.
const readerAccount = "istio-reader-service-account"

// tokenPatience is how long the cluster has to fill a token in.
const tokenPatience = 30 * time.Second

// clusterName is what may be a key of a Secret, and so the ID of a cluster.
var clusterName = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// SecretOptions of `create-remote-secret`.
type SecretOptions struct {
	Env *env.Env

	Name          string
	Account       string
	Secret        string
	Type          string
	Server        string
	TLSServerName string
}

// NewSecretCmd makes the command; run, if not nil, takes the place of its work.
func NewSecretCmd(e *env.Env, run func(context.Context, *SecretOptions) error) *cobra.Command {
	o := &SecretOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "create-remote-secret --name CLUSTER",
		Short: "Print the Secret by which a control plane in another cluster reads this one",
		Long: `Print a Secret with a kubeconfig of this cluster. Applied to another cluster, into the
namespace of its control plane, it makes the workloads of this cluster endpoints there.

The kubeconfig holds a token of the service account istio-reader-service-account, which
the base chart makes: it reads Services, Pods, Nodes, Namespaces and EndpointSlices of
the whole cluster, and lets tokens of its pods be checked. A Secret with the token is
made in this cluster where there is none; the token does not expire before that Secret
is deleted.

--name must be the ID that the cluster's own control plane goes by
(values.global.multiCluster.clusterName).`,
		Example: `  meshctl create-remote-secret --context east --name east | kubectl apply --context west -f -
  meshctl create-remote-secret --context west --name west | kubectl apply --context east -f -
  meshctl remote-clusters --context west`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return CreateSecret(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "`ID` of this cluster in the mesh (default the UID of its namespace kube-system)")
	f.StringVar(&o.Account, "service-account", readerAccount, "`name` of the service account whose token it holds")
	f.StringVar(&o.Secret, "secret-name", "", "`name` of the Secret in this cluster with the token (default ACCOUNT-istio-remote-secret-token)")
	f.StringVar(&o.Type, "type", "remote", "what the Secret is for: `remote`, a cluster whose workloads are read")
	f.StringVar(&o.Server, "server", "", "`URL` at which the other control plane reaches this cluster's API server (default that of the kubeconfig)")
	f.StringVar(&o.TLSServerName, "tls-server-name", "", "`name` in the API server's certificate, where it is not the URL's")
	return cmd
}

func (o *SecretOptions) check() error {
	switch {
	case o.Type == "config":
		return exit.Usagef("--type config is for a control plane whose configuration is in another cluster, which is not supported").
			Try("run a control plane in each cluster: docs/multicluster.md")
	case o.Type != "remote":
		return exit.Usagef("--type %q is not one of remote", o.Type)
	case o.Name != "" && !clusterName.MatchString(o.Name):
		return exit.Usagef("--name %q: a cluster's ID has letters, digits, '-', '_' and '.' only", o.Name)
	}
	if u, err := url.Parse(o.Server); o.Server != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return exit.Usagef("--server %q is no https:// address", o.Server)
	}
	return nil
}

// CreateSecret does it.
func CreateSecret(ctx context.Context, o *SecretOptions) error {
	client, _, err := o.Env.ConnectedCluster(ctx)
	if err != nil {
		return err
	}
	c := cluster{client, cmp.Or(o.Env.Settings.Namespace, o.Env.Settings.IstioNamespace)}
	if o.Name == "" {
		if o.Name, err = c.uid(ctx); err != nil {
			return err
		}
	}
	token, err := c.token(ctx, o)
	if err != nil {
		return err
	}
	config, err := o.kubeconfig(cmp.Or(o.Server, client.Host()), token)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{
			"name": "istio-remote-secret-" + strings.ToLower(strings.ReplaceAll(o.Name, "_", "-")), "namespace": c.namespace,
			"labels":      map[string]string{"istio/multiCluster": "true"},
			"annotations": map[string]string{"networking.istio.io/cluster": o.Name},
		},
		"stringData": map[string]string{o.Name: string(config)},
	})
	if err != nil {
		return err
	}
	o.Env.IO.Printf("%s", text)
	o.warn(client)
	return nil
}

// warn says what the output holds, and what could be wrong with it.
func (o *SecretOptions) warn(client *kube.Client) {
	server := cmp.Or(o.Server, client.Host())
	if u, err := url.Parse(server); err == nil {
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			o.Env.IO.Sayf("warning: %s is an address of this machine, which no other cluster reaches: name another with --server\n", server)
		}
	}
	o.Env.IO.Sayf("warning: this Secret holds a token of %s of cluster %s that does not expire: keep it out of files that others read\n", o.Account, o.Name)
}

func (o *SecretOptions) kubeconfig(server string, token credentials) ([]byte, error) {
	if !strings.HasPrefix(server, "https://") {
		return nil, exit.Failuref("the API server is at %s, without TLS: a control plane does not take whose a token is from there", server).
			Try("name another address with --server https://…")
	}
	out, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{o.Name: {Server: server, TLSServerName: o.TLSServerName, CertificateAuthorityData: token.ca}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{o.Name: {Token: string(token.token)}},
		Contexts:  map[string]*clientcmdapi.Context{o.Name: {Cluster: o.Name, AuthInfo: o.Name}}, CurrentContext: o.Name,
	})
	if err != nil {
		return nil, fmt.Errorf("write a kubeconfig: %w", err)
	}
	return out, nil
}

// cluster is the one that is to be read.
type cluster struct {
	*kube.Client
	namespace string
}

// credentials are what a token Secret holds.
type credentials struct{ token, ca []byte }

func resourceOf(plural string) schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(plural)
}

// uid names a cluster that has no name, as istioctl does.
func (c cluster) uid(ctx context.Context) (string, error) {
	ns, err := c.Dynamic.Resource(resourceOf("namespaces")).Get(ctx, "kube-system", metav1.GetOptions{})
	if err != nil {
		return "", c.Explain(err, "read namespace kube-system")
	}
	return string(ns.GetUID()), nil
}

// token reads the token Secret of the account, and makes it where there is none.
func (c cluster) token(ctx context.Context, o *SecretOptions) (credentials, error) {
	_, err := c.Dynamic.Resource(resourceOf("serviceaccounts")).Namespace(c.namespace).Get(ctx, o.Account, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return credentials{}, exit.Failuref("cluster %s has no service account %s/%s", c.Name(), c.namespace, o.Account).
			Because(errors.New("it comes with the mesh: no mesh is installed there, or it is another one's")).Try("meshctl install --context %s", c.Context)
	}
	if err != nil {
		return credentials{}, c.Explain(err, "read service account "+c.namespace+"/"+o.Account)
	}
	name := cmp.Or(o.Secret, o.Account+"-istio-remote-secret-token")
	secrets := c.Dynamic.Resource(resourceOf("secrets")).Namespace(c.namespace)
	deadline, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	for {
		found, err := secrets.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			found, err = secrets.Create(ctx, tokenSecret(c.namespace, name, o.Account), metav1.CreateOptions{FieldManager: "meshctl"})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return credentials{}, c.Explain(err, "make Secret "+c.namespace+"/"+name)
			}
		case err != nil:
			return credentials{}, c.Explain(err, "read Secret "+c.namespace+"/"+name)
		}
		out, err := credentialsOf(found, o.Account)
		if err != nil || len(out.token) > 0 && len(out.ca) > 0 {
			return out, err
		}
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-deadline.Done():
			t.Stop()
			if ctx.Err() != nil {
				return credentials{}, ctx.Err()
			}
			return credentials{}, exit.New(exit.Timeout, "the cluster has put no token into Secret %s/%s within %s", c.namespace, name, tokenPatience).
				Try("kubectl describe secret %s -n %s", name, c.namespace)
		case <-t.C:
		}
	}
}

func tokenSecret(namespace, name, account string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": string(corev1.SecretTypeServiceAccountToken),
		"metadata": map[string]any{
			"namespace": namespace, "name": name, "annotations": map[string]any{corev1.ServiceAccountNameKey: account},
		},
	}}
}

// credentialsOf are those in a Secret, empty while the cluster has not filled it.
func credentialsOf(u *unstructured.Unstructured, account string) (credentials, error) {
	if u == nil {
		return credentials{}, nil
	}
	var s corev1.Secret
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &s); err != nil {
		return credentials{}, fmt.Errorf("read Secret %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	if s.Type != corev1.SecretTypeServiceAccountToken || s.Annotations[corev1.ServiceAccountNameKey] != account {
		return credentials{}, exit.Failuref("secret %s/%s is not a token of service account %s", s.Namespace, s.Name, account).Try("name another with --secret-name")
	}
	return credentials{s.Data[corev1.ServiceAccountTokenKey], s.Data[corev1.ServiceAccountRootCAKey]}, nil
}
