package clustermesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/client"
)

// Dial connects to a port of a pod's own loopback; pod is namespace/name. The API
// server reaches nothing else of it.
func (m *Mesh) Dial(ctx context.Context, pod, address string) (net.Conn, error) {
	namespace, name, ok := strings.Cut(pod, "/")
	host, port, err := net.SplitHostPort(address)
	if err != nil || !ok {
		return nil, fmt.Errorf("connect to %s of pod %q: not HOST:PORT of NAMESPACE/NAME", address, pod)
	}
	n, err := strconv.Atoi(port)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("connect to %s from pod %s: on a cluster only the pod's own ports are reached", address, pod)
	}
	f, err := m.client.Forward(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	conn, err := f.Dial(n)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &owned{Conn: conn, way: f}, nil
}

// owned is a connection that has the way to the pod to itself.
type owned struct {
	net.Conn
	way io.Closer
}

// Close ends the connection and the way.
func (o *owned) Close() error { return errors.Join(o.Conn.Close(), o.way.Close()) }

// unhurried is a client without a bound on how long an answer takes.
func (m *Mesh) unhurried() (*rest.Config, *kubernetes.Clientset, error) {
	config := rest.CopyConfig(m.client.Config)
	config.Timeout = 0
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client of %s: %w", config.Host, err)
	}
	return config, c, nil
}

// Logs copies a container's output to w; without a name that of the program, not of
// its sidecar.
func (m *Mesh) Logs(ctx context.Context, namespace, pod string, o client.LogOptions, w io.Writer) error {
	_, c, err := m.unhurried()
	if err != nil {
		return err
	}
	doing := fmt.Sprintf("read the log of pod %s.%s", pod, namespace)
	options := &corev1.PodLogOptions{Container: o.Container, Follow: o.Follow}
	if options.Container == "" {
		if options.Container, err = m.mainContainer(ctx, c, namespace, pod); err != nil {
			return m.client.Explain(err, doing)
		}
	}
	if o.Lines >= 0 {
		n := int64(o.Lines)
		options.TailLines = &n
	}
	in, err := c.CoreV1().Pods(namespace).GetLogs(pod, options).Stream(ctx)
	if apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "is not valid for pod") {
		return m.noContainer(ctx, c, namespace, pod, options.Container)
	}
	if apierrors.IsBadRequest(err) {
		return fmt.Errorf("container %s of pod %s.%s has no log yet: %w", options.Container, pod, namespace, err)
	}
	if err != nil {
		return m.client.Explain(err, doing)
	}
	defer in.Close()
	if _, err := io.Copy(w, in); err != nil && ctx.Err() == nil {
		return m.client.Explain(err, doing)
	}
	return nil
}

// mainContainer is that of the program: the one the pod names, else the first that
// is no proxy.
func (m *Mesh) mainContainer(ctx context.Context, c kubernetes.Interface, namespace, pod string) (string, error) {
	p, err := c.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	all := runningContainers(p)
	for _, want := range []func(corev1.Container) bool{
		func(c corev1.Container) bool {
			return c.Name == p.Annotations["kubectl.kubernetes.io/default-container"]
		},
		func(c corev1.Container) bool { return c.Name != ProxyContainer },
		func(corev1.Container) bool { return true },
	} {
		if i := slices.IndexFunc(all, want); i >= 0 {
			return all[i].Name, nil
		}
	}
	return "", nil
}

// maxOutput bounds what a command may say, as on a local mesh.
const maxOutput = 4 << 20

// Exec runs a command in a container.
func (m *Mesh) Exec(ctx context.Context, namespace, pod string, r api.ExecRequest) (api.ExecResult, error) {
	config, c, err := m.unhurried()
	if err != nil {
		return api.ExecResult{}, err
	}
	doing := fmt.Sprintf("run a command in pod %s.%s", pod, namespace)
	if r.Container == "" {
		if r.Container, err = m.mainContainer(ctx, c, namespace, pod); err != nil {
			return api.ExecResult{}, m.client.Explain(err, doing)
		}
	}
	seconds := r.TimeoutSeconds
	if seconds == 0 {
		seconds = 60
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	req := c.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: r.Container, Command: r.Command, Stdin: len(r.Stdin) > 0, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	run, err := executor(config, req.URL())
	if err != nil {
		return api.ExecResult{}, fmt.Errorf("%s: %w", doing, err)
	}
	stdout, stderr := &bounded{most: maxOutput}, &bounded{most: maxOutput}
	streams := remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr}
	if len(r.Stdin) > 0 {
		streams.Stdin = bytes.NewReader(r.Stdin)
	}
	err = run.StreamWithContext(ctx, streams)
	out := api.ExecResult{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Truncated: stdout.over || stderr.over}
	var code exec.CodeExitError
	switch {
	case errors.As(err, &code):
		out.ExitCode = code.Code
	case err != nil && strings.Contains(err.Error(), "is not valid for pod"):
		return out, m.noContainer(ctx, c, namespace, pod, r.Container)
	case err != nil && notStarted(&out, err):
		return out, nil
	case err != nil:
		return out, m.client.Explain(err, doing)
	}
	return out, nil
}

// notStarted knows that the command could not be started, and gives it the code that a
// shell gives: 127 when there is no such program, 126 when it is none.
func notStarted(out *api.ExecResult, err error) bool {
	const mark = "unable to start container process: "
	text := err.Error()
	i := strings.LastIndex(text, mark)
	if i < 0 {
		return false
	}
	text = strings.TrimSuffix(text[i+len(mark):], ": unknown")
	if out.ExitCode = 126; strings.Contains(text, "no such file or directory") || strings.Contains(text, "executable file not found") {
		out.ExitCode = 127
	}
	out.Stderr = append(out.Stderr, text+"\n"...)
	return true
}

// noContainer says which containers there are.
func (m *Mesh) noContainer(ctx context.Context, c kubernetes.Interface, namespace, pod, container string) error {
	p, err := c.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return m.client.Explain(err, fmt.Sprintf("find container %s of pod %s.%s", container, pod, namespace))
	}
	var names []string
	for _, x := range runningContainers(p) {
		names = append(names, x.Name)
	}
	return fmt.Errorf("pod %s.%s has no container %q; it has %s", pod, namespace, container, strings.Join(names, ", "))
}

// executor prefers WebSocket, which passes proxies; older servers have SPDY only.
func executor(config *rest.Config, u *url.URL) (remotecommand.Executor, error) {
	old, err := remotecommand.NewSPDYExecutor(config, "POST", u)
	if err != nil {
		return nil, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(config, "GET", u.String())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(socket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

// bounded keeps the beginning of what is written.
type bounded struct {
	bytes.Buffer
	most int
	over bool
}

// Write implements io.Writer; it takes everything.
func (b *bounded) Write(p []byte) (int, error) {
	if room := b.most - b.Len(); len(p) > room {
		b.over = true
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}
