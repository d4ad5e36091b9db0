package meshd

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meshctl/meshctl/internal/identity"
)

// Secrets with the certificate authority, in the order they are looked for.
const (
	secretGiven = "cacerts"         // brought by the user
	secretOwn   = "istio-ca-secret" // made by the first control plane to start
)

// secretType is the type of the Secret that is made.
const secretType corev1.SecretType = "istio.io/ca-root"

// secretCA loads the certificate authority from the cluster. When there is none,
// one is made and kept there. Of replicas that start at once one creates the
// Secret and the others read it.
func secretCA(ctx context.Context, client kubernetes.Interface, namespace, trustDomain string, log *slog.Logger) (*identity.CA, error) {
	secrets := client.CoreV1().Secrets(namespace)
	for range 3 { // at most: none there, somebody else was first, read theirs
		for _, name := range []string{secretGiven, secretOwn} {
			s, err := secrets.Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read the certificate authority from Secret %s/%s: %w", namespace, name, err)
			}
			ca, err := identity.LoadCA(caFiles(s.Data))
			if err != nil {
				return nil, fmt.Errorf("load the certificate authority from Secret %s/%s: %w", namespace, name, err)
			}
			log.InfoContext(ctx, "certificate authority loaded", "secret", name, "not_after", ca.NotAfter())
			return ca, nil
		}
		ca, err := identity.NewSelfSignedCA(identity.CAOptions{Organization: trustDomain})
		if err != nil {
			return nil, err
		}
		files, err := ca.Files()
		if err != nil {
			return nil, err
		}
		_, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: secretOwn, Namespace: namespace}, Type: secretType,
			Data: map[string][]byte{"ca-cert.pem": files.Cert, "ca-key.pem": files.Key, "root-cert.pem": files.Roots},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("keep a new certificate authority in Secret %s/%s: %w", namespace, secretOwn, err)
		}
	}
	return nil, fmt.Errorf("secret %s/%s cannot be read although it exists", namespace, secretOwn)
}

// caFiles reads the keys that Istio documents, or those of a kubernetes.io/tls
// Secret as cert-manager writes them.
func caFiles(data map[string][]byte) identity.CAFiles {
	if len(data["ca-cert.pem"]) == 0 && len(data["tls.crt"]) > 0 {
		return identity.CAFiles{Cert: data["tls.crt"], Key: data["tls.key"], Chain: data["tls.crt"], Roots: data["ca.crt"]}
	}
	return identity.CAFiles{Cert: data["ca-cert.pem"], Key: data["ca-key.pem"], Chain: data["cert-chain.pem"], Roots: data["root-cert.pem"]}
}
