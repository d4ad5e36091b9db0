package meshd

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// maxKubeconfig bounds the kubeconfig of a remote cluster, in bytes.
const maxKubeconfig = 64 << 10

// remoteConfig makes a client's configuration of a kubeconfig that a Secret holds. It
// is taken only if all it needs is in it: it must not make the control plane run a
// program, read its files, or talk to whom it cannot recognise. Errors quote nothing
// of it, since it is a secret.
func remoteConfig(text []byte) (*rest.Config, error) {
	if len(text) > maxKubeconfig {
		return nil, fmt.Errorf("it has %d bytes, and may have %d", len(text), maxKubeconfig)
	}
	config, err := clientcmd.Load(text)
	if err != nil {
		return nil, errors.New("it is not a kubeconfig") //nolint:nilerr // what is wrong would quote the secret
	}
	current := config.Contexts[config.CurrentContext]
	if current == nil {
		return nil, errors.New("it has no context that is the current one")
	}
	for _, c := range config.Clusters {
		if err := limitCluster(c); err != nil {
			return nil, err
		}
	}
	for _, u := range config.AuthInfos {
		if err := limitUser(u); err != nil {
			return nil, err
		}
	}
	if config.Clusters[current.Cluster] == nil {
		return nil, errors.New("its current context names no cluster in it")
	}
	out, err := clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, errors.New("it does not lead to an API server") //nolint:nilerr // what is wrong would quote the secret
	}
	out.UserAgent = "meshd"
	return out, nil
}

func limitCluster(c *clientcmdapi.Cluster) error {
	switch {
	case !strings.HasPrefix(c.Server, "https://"):
		return errors.New("its server is no https:// address: whose a token is must not be said by whoever is on the way")
	case c.InsecureSkipTLSVerify:
		return errors.New("insecure-skip-tls-verify is not allowed: give certificate-authority-data")
	case c.CertificateAuthority != "":
		return errors.New("certificate-authority names a file: give certificate-authority-data")
	}
	return nil
}

func limitUser(u *clientcmdapi.AuthInfo) error {
	switch {
	case u.Exec != nil:
		return errors.New("exec would run a program in the control plane: give a token")
	case u.AuthProvider != nil:
		return errors.New("auth-provider is not allowed: give a token")
	case u.TokenFile != "":
		return errors.New("tokenFile names a file: give token")
	case u.ClientCertificate != "":
		return errors.New("client-certificate names a file: give client-certificate-data")
	case u.ClientKey != "":
		return errors.New("client-key names a file: give client-key-data")
	}
	return nil
}
