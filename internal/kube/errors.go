package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kind is what sort of thing went wrong.
type Kind int

// Kinds of errors.
const (
	NoConfig     Kind = iota + 1 // no kubeconfig names a cluster
	BadConfig                    // it does, but cannot be used
	Unreachable                  // nobody answers
	BadTLS                       // somebody answers who cannot be trusted
	Unauthorized                 // the cluster does not know who we are
	Forbidden                    // it knows, and we may not
	OldVersion                   // it is too old
	NotCluster                   // it is no Kubernetes API server
	Late                         // not done in time
	Throttled                    // it has too much to do
)

// Error says what went wrong between us and a cluster, in words for a user.
type Error struct {
	Kind    Kind
	Message string
	Cause   error    // may be nil
	Steps   []string // what to do, best first
	Missing *Right   // of Forbidden, if the cluster said which
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

var configSteps = []string{"kubectl config get-contexts", "choose another cluster with --context or --kubeconfig"}

// explainConfig is for what can be wrong before anything is sent.
func explainConfig(err error, rules *clientcmd.ClientConfigLoadingRules, contextName string, known map[string]*clientcmdapi.Context) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &Error{Kind: NoConfig, Message: "there is no such kubeconfig", Cause: err, Steps: []string{"name another with --kubeconfig"}}
	case clientcmd.IsContextNotFound(err) || isMissingContext(err):
		e := &Error{Kind: BadConfig, Message: fmt.Sprintf("kubeconfig has no context %q", contextName), Steps: configSteps[:1]}
		if len(known) > 0 {
			e.Cause = errors.New("it has " + strings.Join(sortedKeys(known), ", "))
		}
		return e
	case known[contextName] != nil:
		return &Error{Kind: BadConfig, Message: fmt.Sprintf("context %q of kubeconfig cannot be used", contextName), Cause: err, Steps: []string{"kubectl config view"}}
	case clientcmd.IsEmptyConfig(err), errors.Is(err, rest.ErrNotInCluster):
		return &Error{
			Kind: NoConfig, Message: "no kubeconfig names a cluster",
			Cause: errors.New("looked at " + strings.Join(rules.GetLoadingPrecedence(), ", ")),
			Steps: []string{"name one with --kubeconfig, or set KUBECONFIG", "meshctl up, for a mesh on this machine without a cluster"},
		}
	default:
		return &Error{Kind: BadConfig, Message: "kubeconfig cannot be used", Cause: err, Steps: []string{"kubectl config view"}}
	}
}

// isMissingContext knows the validation's own form of a context that is not there.
func isMissingContext(err error) bool {
	return clientcmd.IsConfigurationInvalid(err) && strings.Contains(err.Error(), "context was not found for specified context") ||
		strings.HasPrefix(err.Error(), "context ") && strings.HasSuffix(err.Error(), " does not exist")
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Explain gives an error of a call its meaning; doing says what was tried, as in
// "list pods". Errors that are about the objects themselves pass as they are,
// with doing before them.
func (c *Client) Explain(err error, doing string) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if e := explainAnswer(err, c.Name(), doing); e != nil {
		return e
	}
	if e := explainTLS(err, c.Name()); e != nil {
		return e
	}
	if e := explainNetwork(err, c.Name(), doing); e != nil {
		return e
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// explainAnswer is for what an API server says itself, or what is none.
func explainAnswer(err error, cluster, doing string) error {
	var syntax *json.SyntaxError
	var exec *os.PathError
	switch {
	case apierrors.IsUnauthorized(err):
		return &Error{
			Kind: Unauthorized, Message: fmt.Sprintf("%s does not accept who you are", cluster), Cause: err,
			Steps: []string{"log in again: the token or certificate in kubeconfig may have expired", "kubectl auth whoami"},
		}
	case apierrors.IsForbidden(err), denial.MatchString(err.Error()):
		return forbidden(err, doing)
	case apierrors.IsTooManyRequests(err):
		return &Error{Kind: Throttled, Message: fmt.Sprintf("%s has too much to do", cluster), Cause: err, Steps: []string{"try again in a moment"}}
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err):
		return &Error{Kind: Late, Message: fmt.Sprintf("%s did not %s in time", cluster, doing), Cause: err, Steps: []string{"try again"}}
	case apierrors.IsServiceUnavailable(err):
		return &Error{Kind: Unreachable, Message: fmt.Sprintf("%s is not ready to answer", cluster), Cause: err, Steps: []string{"try again in a moment"}}
	case errors.As(err, &syntax), apierrors.IsNotFound(err) && doing == "ask for the version", strings.Contains(err.Error(), "unable to parse the server version"):
		return &Error{Kind: NotCluster, Message: fmt.Sprintf("%s answers, but is not a Kubernetes API server", cluster), Cause: err, Steps: configSteps}
	case strings.Contains(err.Error(), "getting credentials:") && (errors.As(err, &exec) || strings.Contains(err.Error(), "exec:")):
		return &Error{Kind: Unauthorized, Message: "the program that kubeconfig names for credentials fails", Cause: err, Steps: []string{"run it by hand; kubectl config view --minify shows it"}}
	}
	return nil
}

// explainTLS is for certificates, of either side.
func explainTLS(err error, cluster string) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return &Error{Kind: NotCluster, Message: fmt.Sprintf("%s does not speak TLS", cluster), Cause: err, Steps: append([]string{"the address should perhaps begin with http://"}, configSteps...)}
	case errors.As(err, &authority):
		return &Error{
			Kind: BadTLS, Message: fmt.Sprintf("the certificate of %s is signed by nobody you trust", cluster), Cause: authority,
			Steps: []string{"certificate-authority-data in kubeconfig may be of another cluster, or of an earlier one with the same address"},
		}
	case errors.As(err, &host):
		return &Error{
			Kind: BadTLS, Message: fmt.Sprintf("the certificate of %s is for another name", cluster), Cause: host,
			Steps: []string{"use one of the names it is for, or set tls-server-name in kubeconfig"},
		}
	case errors.As(err, &invalid):
		e := &Error{Kind: BadTLS, Message: fmt.Sprintf("the certificate of %s is not valid", cluster), Cause: invalid}
		if invalid.Reason == x509.Expired {
			e.Message = fmt.Sprintf("the certificate of %s has expired, or is not valid yet", cluster)
			e.Steps = []string{"check the clocks of both sides, then renew the cluster's certificates"}
		}
		return e
	case errors.As(err, &verify):
		return &Error{Kind: BadTLS, Message: fmt.Sprintf("the certificate of %s cannot be verified", cluster), Cause: verify}
	case errors.As(err, &alert):
		return &Error{
			Kind: Unauthorized, Message: fmt.Sprintf("%s refuses the client certificate", cluster), Cause: err,
			Steps: []string{"client-certificate-data in kubeconfig may have expired, or be of another cluster"},
		}
	}
	return nil
}

// explainNetwork is for when nobody answers.
func explainNetwork(err error, cluster, doing string) error {
	var dns *net.DNSError
	var op *net.OpError
	var timeout net.Error
	unreachable := func(why string, steps ...string) error {
		return &Error{Kind: Unreachable, Message: fmt.Sprintf("cannot reach %s", cluster), Cause: errors.New(why), Steps: steps}
	}
	switch {
	case strings.Contains(err.Error(), "error from a previous attempt: EOF"):
		return unreachable("it closes every connection", "is the API server being restarted? try again in a moment")
	case errors.As(err, &dns):
		return unreachable("the name "+dns.Name+" is not known", "check the server's address in kubeconfig, and your network")
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachable("the connection is refused: nothing listens there", "is the cluster running? kubectl config view --minify shows its address")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return unreachable("there is no route to it", "check your network, or the VPN to it")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &Error{
			Kind: Late, Message: fmt.Sprintf("%s did not answer in time", cluster), Cause: fmt.Errorf("%s: %w", doing, err),
			Steps: []string{"try again, with more time: --kubeclient-timeout 60s", "check your network, or the VPN to it"},
		}
	case errors.As(err, &op) && op.Op == "dial":
		return unreachable(op.Err.Error(), "check the server's address in kubeconfig, and your network")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(err.Error(), "http2: client connection lost"), strings.Contains(err.Error(), "http2: server sent GOAWAY"):
		return unreachable("the connection broke: "+err.Error(), "is the API server being restarted? try again in a moment")
	}
	return nil
}
