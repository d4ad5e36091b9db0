package cni

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// kubeconfig is the part of the file that the installer writes. JSON is YAML, so
// kubectl reads it as well.
type kubeconfig struct {
	APIVersion     string             `json:"apiVersion"`
	Kind           string             `json:"kind"`
	Clusters       []namedCluster     `json:"clusters"`
	Users          []namedUser        `json:"users"`
	Contexts       []namedKubeContext `json:"contexts"`
	CurrentContext string             `json:"current-context"`
}

type namedCluster struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
}

type cluster struct {
	Server string `json:"server"`
	CAData []byte `json:"certificate-authority-data"`
}

type namedUser struct {
	Name string `json:"name"`
	User user   `json:"user"`
}

type user struct {
	Token string `json:"token"`
}

type namedKubeContext struct {
	Name    string      `json:"name"`
	Context kubeContext `json:"context"`
}

type kubeContext struct {
	Cluster string `json:"cluster"`
	User    string `json:"user"`
}

// api is the few questions asked of the API server, by plain HTTP: a client library
// would be in the memory of every sidecar, which is this program.
type api struct {
	server string
	token  func() (string, error)
	client *http.Client
}

// Bounds of one question.
const (
	maxAPIAnswer = 8 << 20
	askTimeout   = 10 * time.Second
)

// openAPI reads a kubeconfig that the installer wrote.
func openAPI(file string) (*api, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(k.Clusters) != 1 || len(k.Users) != 1 {
		return nil, fmt.Errorf("%s: want one cluster and one user", file)
	}
	token := k.Users[0].User.Token
	return newAPI(k.Clusters[0].Cluster.Server, k.Clusters[0].Cluster.CAData, func() (string, error) { return token, nil })
}

func newAPI(server string, ca []byte, token func() (string, error)) (*api, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate of the API server's authority")
	}
	return &api{
		server: strings.TrimSuffix(server, "/"), token: token,
		client: &http.Client{Timeout: askTimeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}},
	}, nil
}

func (a *api) do(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, nil)
	if err != nil {
		return err
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", Type)
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		var s struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(body, &s) // without it, the status alone has to do
		return &apiError{resp.StatusCode, strings.TrimSpace(method + " " + path + ": " + resp.Status + ": " + s.Message)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// apiError is an answer of the API server that is none.
type apiError struct {
	status  int
	message string
}

func (e *apiError) Error() string { return e.message }

func podPath(namespace, name string) string {
	return "/api/v1/namespaces/" + url.PathEscape(namespace) + "/pods/" + url.PathEscape(name)
}

func (a *api) pod(ctx context.Context, namespace, name string) (*pod, error) {
	p := &pod{}
	if err := a.do(ctx, http.MethodGet, podPath(namespace, name), p); err != nil {
		return nil, err
	}
	return p, nil
}

func (a *api) alive(ctx context.Context) error { return a.do(ctx, http.MethodGet, "/version", nil) }
