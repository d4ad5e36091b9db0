package clustermesh

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// MonitoringPort is where the control plane says what it knows.
const MonitoringPort = 15014

// maxAnswer bounds what a control plane or a proxy may say.
const maxAnswer = 512 << 20

// HTTP is a client to a port of a pod's own loopback, whatever host a request names.
func (m *Mesh) HTTP(namespace, pod string, port int) *http.Client {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return m.Dial(ctx, namespace+"/"+pod, address)
		},
	}}
}

// ControlPlanePods are the pods of the control plane that run: of the revision that is
// meant, or of every one.
func (m *Mesh) ControlPlanePods(ctx context.Context) ([]corev1.Pod, error) {
	all, err := m.everyControlPlane(ctx)
	if err != nil || m.opts.Revision == "" || len(all) == 0 {
		return all, err
	}
	pods := slices.DeleteFunc(slices.Clone(all), func(p corev1.Pod) bool { return RevisionOf(&p) != m.opts.Revision })
	if len(pods) == 0 {
		return nil, &NoRevisionError{m.opts.Revision, revisionsOf(all)}
	}
	return pods, nil
}

// Revisions are the names of the control planes that run, whichever is meant, in order.
func (m *Mesh) Revisions(ctx context.Context) ([]string, error) {
	all, err := m.everyControlPlane(ctx)
	return revisionsOf(all), err
}

// RevisionOf is the revision of a pod of the control plane.
func RevisionOf(p *corev1.Pod) string { return cmp.Or(p.Labels[labelRevision], DefaultRevision) }

func revisionsOf(pods []corev1.Pod) []string {
	var out []string
	for i := range pods {
		out = append(out, RevisionOf(&pods[i]))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

const labelRevision = "istio.io/rev"

func (m *Mesh) everyControlPlane(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := m.listPods(ctx, m.opts.Namespace, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool {
		return p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil
	})
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, nil
}

// NoControlPlaneError says that none runs where it was looked for.
type NoControlPlaneError struct{ Namespace, Cluster string }

func (e *NoControlPlaneError) Error() string {
	return fmt.Sprintf("no control plane runs in namespace %s of cluster %s", e.Namespace, e.Cluster)
}

// NoRevisionError says that the control plane that is meant does not run, and which do.
type NoRevisionError struct {
	Revision string
	Have     []string
}

func (e *NoRevisionError) Error() string {
	return fmt.Sprintf("no control plane of revision %s runs; there are %s", e.Revision, strings.Join(e.Have, ", "))
}

// Instances asks every process of the control plane. One that does not answer is
// there with its Problem; it is an error when there is none, or none answers.
func (m *Mesh) Instances(ctx context.Context) ([]meshapi.Instance, error) {
	pods, err := m.ControlPlanePods(ctx)
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		return nil, &NoControlPlaneError{m.opts.Namespace, m.client.Name()}
	}
	out := make([]meshapi.Instance, len(pods))
	var wait sync.WaitGroup
	for i := range pods {
		wait.Go(func() { out[i] = m.instance(ctx, &pods[i]) })
	}
	wait.Wait()
	if !slices.ContainsFunc(out, func(i meshapi.Instance) bool { return i.Problem == nil }) {
		return nil, out[0].Problem
	}
	return out, nil
}

func (m *Mesh) instance(ctx context.Context, p *corev1.Pod) meshapi.Instance {
	out := meshapi.Instance{
		Name: p.Name, Namespace: p.Namespace, Revision: RevisionOf(p), Cluster: clusterID(p),
	}
	version, err := m.Ask(ctx, p.Namespace, p.Name, "/version")
	if err != nil {
		out.Problem = err
		return out
	}
	out.Version = strings.TrimSpace(string(version))
	body, err := m.Ask(ctx, p.Namespace, p.Name, "/debug/syncz")
	if err != nil {
		out.Problem = err
		return out
	}
	if out.Sessions, err = ParseSync(body); err != nil {
		out.Problem = fmt.Errorf("control plane %s says something unknown of its proxies: %w", p.Name, err)
	}
	return out
}

// clusterID is how the control plane calls its cluster.
func clusterID(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		for _, e := range c.Env {
			if e.Name == "CLUSTER_ID" && e.Value != "" {
				return e.Value
			}
		}
	}
	return "Kubernetes"
}

// Page is a page of a process's monitoring port.
func (m *Mesh) Page(ctx context.Context, i meshapi.Instance, path string) ([]byte, error) {
	return m.Ask(ctx, i.Namespace, i.Name, path)
}

// Ask gets a page of a control plane's monitoring port.
func (m *Mesh) Ask(ctx context.Context, namespace, pod, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask control plane %s: %w", pod, err)
	}
	resp, err := m.HTTP(namespace, pod, MonitoringPort).Do(req)
	if err != nil {
		var k *kube.Error
		if errors.As(err, &k) {
			return nil, k
		}
		return nil, fmt.Errorf("ask control plane %s for %s: %w", pod, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask control plane %s for %s: %w", pod, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask control plane %s for %s: %s: %s", pod, path, resp.Status, strings.TrimSpace(string(body[:min(len(body), 200)])))
	}
	return body, nil
}

// Diagnostics are what the control plane has found; nothing of one that keeps no
// findings.
func (m *Mesh) Diagnostics(ctx context.Context) ([]diag.Diagnostic, error) {
	pods, err := m.ControlPlanePods(ctx)
	if err != nil || len(pods) == 0 {
		return nil, err
	}
	body, err := m.Ask(ctx, pods[0].Namespace, pods[0].Name, "/debug/diagnosticz")
	if err != nil {
		return nil, err
	}
	var out []diag.Diagnostic
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, fmt.Errorf("read the findings of control plane %s: %w", pods[0].Name, err)
	}
	return out, nil
}
