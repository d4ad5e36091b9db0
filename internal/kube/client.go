package kube

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// OldestVersion is the oldest Kubernetes that is supported: the first whose API
// server has everything that the charts use.
const OldestVersion = "1.29.0"

// Options say which cluster, and as whom. They mean what kubectl's flags of the
// same names mean.
type Options struct {
	Kubeconfig string // a file; "" for KUBECONFIG, then ~/.kube/config, then the pod's own account
	Context    string // "" for the current one
	Namespace  string // "" for the context's
	As         string
	AsUID      string
	AsGroups   []string
	// Timeout bounds one request; 0 for none.
	Timeout time.Duration
	// UserAgent is what the cluster's audit log shows.
	UserAgent string
}

// Client is one cluster.
type Client struct {
	Config    *rest.Config // read-only
	Context   string       // "" inside a pod
	Namespace string       // where objects are that name none

	Dynamic   dynamic.Interface
	Discovery discovery.CachedDiscoveryInterface
	// Mapper finds the resource of a kind. It asks the cluster once; Reset forgets.
	Mapper meta.ResettableRESTMapper
	// HTTP is authenticated like everything else.
	HTTP *http.Client
}

// New reads the configuration. It does not talk to the cluster.
func New(o Options) (*Client, error) {
	config, name, namespace, err := o.load()
	if err != nil {
		return nil, err
	}
	config.UserAgent = cmp.Or(o.UserAgent, "meshctl")
	config.Timeout = o.Timeout
	// One person at a keyboard needs no throttle of the client's own; the server has one.
	config.QPS, config.Burst = 100, 200
	return NewForConfig(config, name, namespace)
}

// NewForConfig makes a client of a configuration that is there already.
func NewForConfig(config *rest.Config, contextName, namespace string) (*Client, error) {
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, &Error{Kind: BadConfig, Message: "the credentials for the cluster cannot be used", Cause: err, Steps: []string{"kubectl config view --minify"}}
	}
	dyn, err := dynamic.NewForConfigAndClient(config, web)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", config.Host, err)
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(config, web)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", config.Host, err)
	}
	cached := memory.NewMemCacheClient(disco)
	return &Client{
		Config: config, Context: contextName, Namespace: namespace, HTTP: web,
		Dynamic: dyn, Discovery: cached, Mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached),
	}, nil
}

// load finds configuration, context and namespace.
func (o Options) load() (*rest.Config, string, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{
		CurrentContext: o.Context,
		Context:        clientcmdapi.Context{Namespace: o.Namespace},
		AuthInfo:       clientcmdapi.AuthInfo{Impersonate: o.As, ImpersonateUID: o.AsUID, ImpersonateGroups: o.AsGroups},
	}
	if o.As == "" && (o.AsUID != "" || len(o.AsGroups) > 0) {
		return nil, "", "", &Error{Kind: BadConfig, Message: "--as-group and --as-uid need --as: a group acts only together with a user"}
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, "", "", explainConfig(err, rules, o.Context, nil)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", "", explainConfig(err, rules, cmp.Or(o.Context, raw.CurrentContext), raw.Contexts)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", "", explainConfig(err, rules, cmp.Or(o.Context, raw.CurrentContext), raw.Contexts)
	}
	if o.As != "" {
		// In a pod's own configuration the overrides do not reach.
		config.Impersonate = rest.ImpersonationConfig{UserName: o.As, UID: o.AsUID, Groups: o.AsGroups}
	}
	return config, cmp.Or(o.Context, raw.CurrentContext), namespace, nil
}

// Host is the cluster's address, for messages.
func (c *Client) Host() string { return c.Config.Host }

// Name is how to call the cluster in a message.
func (c *Client) Name() string {
	if c.Context == "" {
		return c.Config.Host
	}
	return fmt.Sprintf("%s (%s)", c.Context, c.Config.Host)
}

// Version asks the cluster what it is: the first call to make, since it tells a
// cluster from anything else that may answer.
func (c *Client) Version(ctx context.Context) (string, error) {
	// The discovery client takes no context.
	type answer struct {
		version string
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		v, err := c.Discovery.ServerVersion()
		if err != nil {
			done <- answer{err: err}
			return
		}
		done <- answer{version: v.GitVersion}
	}()
	select {
	case <-ctx.Done():
		return "", c.Explain(ctx.Err(), "ask for the version")
	case a := <-done:
		if a.err != nil {
			return "", c.Explain(a.err, "ask for the version")
		}
		if !strings.HasPrefix(a.version, "v") {
			return "", &Error{Kind: NotCluster, Message: fmt.Sprintf("%s is not a Kubernetes API server", c.Host()), Cause: fmt.Errorf("its version is %q", a.version), Steps: configSteps}
		}
		return a.version, nil
	}
}

// CheckVersion refuses a cluster that is too old.
func CheckVersion(got string) error {
	v, err := version.ParseSemantic(got)
	if err != nil {
		return &Error{Kind: NotCluster, Message: fmt.Sprintf("version %q of the cluster is not understood", got), Cause: err}
	}
	if v.LessThan(version.MustParseSemantic(OldestVersion)) {
		return &Error{
			Kind: OldVersion, Message: fmt.Sprintf("the cluster runs Kubernetes %s; the oldest that is supported is %s", got, OldestVersion),
			Steps: []string{"upgrade the cluster, or choose another with --context"},
		}
	}
	return nil
}
