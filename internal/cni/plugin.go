package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/capture"
)

// Type is the plugin's name in configurations: the name of its program on a node.
const Type = "istio-cni"

// supportedVersions of CNI's specification. The result is passed on as it came, so
// that what changed between them does not matter here.
var supportedVersions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Bounds of one call.
const (
	maxConfig   = 4 << 20
	callTimeout = 30 * time.Second
)

// netConf is the plugin's configuration.
type netConf struct {
	CNIVersion string          `json:"cniVersion"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	PrevResult json.RawMessage `json:"prevResult"`
	Kubernetes kubernetes      `json:"kubernetes"`
}

// kubernetes says how the API server is asked, and for whom it is not.
type kubernetes struct {
	Kubeconfig        string   `json:"kubeconfig"`
	ExcludeNamespaces []string `json:"exclude_namespaces"`
}

// Error codes of CNI's specification.
const (
	codeVersion     = 1
	codeEnvironment = 4
	codeIO          = 5
	codeDecode      = 6
	codeConfig      = 7
	codeTryAgain    = 11
	codeUnavailable = 50
	codeOurs        = 100
)

// cniError is a failure in the form that a container runtime reads.
type cniError struct {
	CNIVersion string `json:"cniVersion"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func (e *cniError) Error() string { return e.Msg + ": " + e.Details }

func failf(code int, msg, format string, args ...any) *cniError {
	return &cniError{Code: code, Msg: msg, Details: fmt.Sprintf(format, args...)}
}

// Called reports whether a container runtime calls the program as a plugin.
func Called(getenv func(string) string) bool { return getenv("CNI_COMMAND") != "" }

// Plugin answers one call and returns the exit code.
func Plugin(getenv func(string) string, stdin io.Reader, stdout io.Writer) int {
	p := plugin{getenv: getenv, redirect: redirectIn, verify: verifyIn}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	out, err := p.call(ctx, stdin)
	if err != nil {
		var e *cniError
		if !errors.As(err, &e) {
			e = failf(codeOurs, "the pod's traffic is not redirected", "%v", err)
		}
		e.CNIVersion = p.conf.CNIVersion
		if !slices.Contains(supportedVersions, e.CNIVersion) {
			e.CNIVersion = supportedVersions[0]
		}
		out, _ = json.Marshal(e) // texts and a number always encode
		_, _ = stdout.Write(out)
		return 1
	}
	_, _ = stdout.Write(out)
	return 0
}

// plugin is one call.
type plugin struct {
	getenv   func(string) string
	conf     netConf
	redirect func(netns string, c capture.Config) error
	verify   func(netns string, c capture.Config) error
}

func (p *plugin) call(ctx context.Context, stdin io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(stdin, maxConfig+1))
	if err != nil {
		return nil, failf(codeIO, "read configuration", "%v", err)
	}
	if len(text) > maxConfig {
		return nil, failf(codeDecode, "read configuration", "it has more than %d bytes", maxConfig)
	}
	command := p.getenv("CNI_COMMAND")
	if command == "VERSION" {
		return p.version(text)
	}
	if err := json.Unmarshal(text, &p.conf); err != nil {
		return nil, failf(codeDecode, "read configuration", "%v", err)
	}
	if !slices.Contains(supportedVersions, p.conf.CNIVersion) {
		return nil, failf(codeVersion, "incompatible CNI version", "configuration is of %q, supported are %s", p.conf.CNIVersion, strings.Join(supportedVersions, ", "))
	}
	switch command {
	case "ADD":
		return p.add(ctx)
	case "CHECK":
		return nil, p.check(ctx)
	case "DEL", "GC":
		return nil, nil // the rules go with the network namespace
	case "STATUS":
		return nil, p.status(ctx)
	default:
		return nil, failf(codeEnvironment, "unknown command", "CNI_COMMAND is %q", command)
	}
}

func (p *plugin) version(text []byte) ([]byte, error) {
	var asked struct {
		CNIVersion string `json:"cniVersion"`
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &asked); err != nil {
			return nil, failf(codeDecode, "read configuration", "%v", err)
		}
	}
	if asked.CNIVersion == "" {
		asked.CNIVersion = supportedVersions[len(supportedVersions)-1]
	}
	return json.Marshal(map[string]any{"cniVersion": asked.CNIVersion, "supportedVersions": supportedVersions})
}

func (p *plugin) add(ctx context.Context) ([]byte, error) {
	if len(p.conf.PrevResult) == 0 {
		return nil, failf(codeConfig, "no result of a plugin before", "%s must be chained after the cluster's own plugin", Type)
	}
	want, netns, err := p.wanted(ctx)
	if err != nil {
		return nil, err
	}
	if want != nil {
		if err := p.redirect(netns, *want); err != nil {
			return nil, failf(codeOurs, "redirect the pod's traffic", "%v", err)
		}
	}
	return p.conf.PrevResult, nil
}

func (p *plugin) check(ctx context.Context) error {
	want, netns, err := p.wanted(ctx)
	if err != nil || want == nil {
		return err
	}
	if err := p.verify(netns, *want); err != nil {
		return failf(codeOurs, "the pod's traffic is not redirected", "%v", err)
	}
	return nil
}

func (p *plugin) status(ctx context.Context) error {
	api, err := openAPI(p.conf.Kubernetes.Kubeconfig)
	if err == nil {
		err = api.alive(ctx)
	}
	if err != nil {
		return failf(codeUnavailable, "the API server cannot be asked for pods", "%v", err)
	}
	return nil
}

// wanted is what the pod of this call is to have, nil for nothing.
func (p *plugin) wanted(ctx context.Context) (c *capture.Config, netns string, err error) {
	args, err := parseArgs(p.getenv("CNI_ARGS"))
	if err != nil {
		return nil, "", err
	}
	namespace, name := args["K8S_POD_NAMESPACE"], args["K8S_POD_NAME"]
	if namespace == "" || name == "" || slices.Contains(p.conf.Kubernetes.ExcludeNamespaces, namespace) {
		return nil, "", nil // not a pod of a cluster, or one of the mesh's own
	}
	if netns = p.getenv("CNI_NETNS"); netns == "" {
		return nil, "", failf(codeEnvironment, "no network namespace", "CNI_NETNS is not set")
	}
	api, err := openAPI(p.conf.Kubernetes.Kubeconfig)
	if err != nil {
		return nil, "", failf(codeConfig, "read kubeconfig", "%v", err)
	}
	pod, err := api.pod(ctx, namespace, name)
	if err != nil {
		return nil, "", failf(codeTryAgain, "ask for the pod", "%v", err)
	}
	cfg, ok, err := pod.capture()
	if err != nil {
		return nil, "", failf(codeConfig, "read the pod's annotations", "%v", err)
	}
	if !ok {
		return nil, "", nil
	}
	return &cfg, netns, nil
}

// parseArgs reads "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a".
func parseArgs(text string) (map[string]string, error) {
	args := map[string]string{}
	if text == "" {
		return args, nil
	}
	for part := range strings.SplitSeq(text, ";") {
		k, v, ok := strings.Cut(part, "=")
		if !ok || k == "" {
			return nil, failf(codeEnvironment, "read CNI_ARGS", "%q is not KEY=VALUE", part)
		}
		args[k] = v
	}
	return args, nil
}
