package env

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/clustermesh"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Home is where a mesh runs: one machine, or a cluster. It has pods.
type Home interface {
	// Pods are those of all namespaces, or of as many as may be seen.
	Pods(ctx context.Context) ([]api.Pod, error)
	// Logs copies a container's output to w.
	Logs(ctx context.Context, namespace, pod string, o client.LogOptions, w io.Writer) error
	// Exec runs a command in a pod.
	Exec(ctx context.Context, namespace, pod string, r api.ExecRequest) (api.ExecResult, error)
	// Dial connects to a port of the loopback of a pod, given as namespace/name.
	Dial(ctx context.Context, pod, address string) (net.Conn, error)
}

// API is what is in force, and what the control plane makes of it.
type API interface {
	// Objects lists objects as they are written; empty arguments mean all.
	Objects(ctx context.Context, group, kind, namespace, name string) ([]meshapi.Object, error)
	// Instances are the processes of the control plane, each with its proxies.
	Instances(ctx context.Context) ([]meshapi.Instance, error)
	// Diagnostics are what the control plane has found.
	Diagnostics(ctx context.Context) ([]diag.Diagnostic, error)
	// Page is a page of a process's monitoring port, such as /debug/syncz.
	Page(ctx context.Context, i meshapi.Instance, path string) ([]byte, error)
}

// Mesh is a running mesh, wherever it runs.
type Mesh struct {
	Home
	API API
	// Name is that of the local mesh, or of the kubeconfig context.
	Name string
	// Cluster is set when it runs on one.
	Cluster *clustermesh.Mesh

	// read are all objects, and what was found while reading them.
	read func(context.Context) ([]*resource.Object, []diag.Diagnostic, error)
	say  func([]diag.Diagnostic)
}

// Mesh finds the running mesh that the user means: --context, else MESHCTL_CONTEXT,
// else the mesh that runs here, else the current cluster of kubeconfig. Of a cluster
// only files are read: whether it answers is found by the first question.
func (e *Env) Mesh(ctx context.Context) (*Mesh, error) {
	name, here, err := e.chosen(ctx)
	if err != nil {
		return nil, err
	}
	if here {
		l, err := Open(ctx, name)
		if err != nil {
			return nil, err
		}
		if e.Revision != "" && e.Revision != clustermesh.DefaultRevision {
			return nil, exit.Usagef("mesh %q on this machine has one control plane, of revision default", name)
		}
		m := l.Any()
		m.say = e.SayFindings
		return m, nil
	}
	return e.onCluster()
}

// onCluster is the mesh of the chosen kubeconfig context.
func (e *Env) onCluster() (*Mesh, error) {
	c, err := e.Cluster()
	var k *kube.Error
	if errors.As(err, &k) && k.Kind == kube.NoConfig && e.Settings.Context == "" && e.Settings.Kubeconfig == "" {
		return nil, exit.New(exit.Unreachable, "no mesh is running here, and no kubeconfig names a cluster").
			Because(k.Cause).Try("meshctl up, for a mesh on this machine").Try("name a kubeconfig with --kubeconfig, for one on a cluster")
	}
	if err != nil {
		return nil, err
	}
	e.contextNamespace = c.Namespace
	m := clustermesh.New(c, clustermesh.Options{Namespace: e.Settings.IstioNamespace, Within: e.Namespace(), Revision: e.Revision})
	return &Mesh{Home: m, API: m, Name: cmp.Or(c.Context, c.Host()), Cluster: m, read: m.Read, say: e.SayFindings}, nil
}

// chosen is the mesh that is meant: the name of one on this machine, or a cluster.
func (e *Env) chosen(ctx context.Context) (name string, here bool, err error) {
	if want := e.Settings.Context; want != "" {
		return e.named(want)
	}
	running, err := Running(ctx)
	if err != nil {
		return "", false, err
	}
	switch {
	case slices.Contains(running, local.DefaultName):
		return local.DefaultName, true, nil
	case len(running) == 1:
		return running[0], true, nil
	case len(running) > 1:
		return "", false, exit.Usagef("several meshes run here: %s", strings.Join(running, ", ")).
			Try("meshctl --context local:%s …", running[0])
	}
	return "", false, nil
}

// named is the mesh of a context.
func (e *Env) named(name string) (string, bool, error) {
	if name == "local" {
		return local.DefaultName, true, nil
	}
	if mesh, ok := strings.CutPrefix(name, "local:"); ok {
		return mesh, true, nil
	}
	kube, err := e.kubeContexts()
	if err != nil {
		return "", false, err
	}
	if slices.Contains(kube.Names, name) {
		return name, false, nil
	}
	e2 := exit.Usagef("there is no context %q: it is neither local, nor local:NAME, nor in %s", name, kube.Where)
	if len(kube.Names) > 0 {
		e2 = e2.Because(errors.New("kubeconfig has " + strings.Join(kube.Names, ", ")))
	}
	return "", false, e2.Try("meshctl --context local …")
}

// Sessions are the proxies that are connected to the control plane, by pod: name.namespace.
// Each of its processes has to answer.
func (m *Mesh) Sessions(ctx context.Context) (map[string]*xdsserve.Session, error) {
	all, err := m.API.Instances(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]*xdsserve.Session{}
	for i := range all {
		if all[i].Problem != nil { // who is connected to it is not known
			return nil, fmt.Errorf("control plane %s does not answer: %w", all[i].Name, all[i].Problem)
		}
		for j := range all[i].Sessions {
			s := &all[i].Sessions[j]
			if id, ok := mesh.ParseNodeID(s.Node); ok {
				out[id.Proxy] = s
			}
		}
	}
	return out, nil
}

// Where is how to call the mesh in a message.
func (m *Mesh) Where() string {
	if m.Cluster != nil {
		return "cluster " + m.Cluster.Client().Name()
	}
	return fmt.Sprintf("mesh %q", m.Name)
}

// HTTP is a client to a port of a pod's own loopback, whatever host a request names:
// 15000 is the admin interface of its proxy.
func (m *Mesh) HTTP(p api.Pod, port int) *http.Client {
	id, address := p.Namespace+"/"+p.Name, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return m.Dial(ctx, id, address) },
	}}
}

// Read reads all objects of the mesh. Findings say what could not be read; the rest
// is there.
func (m *Mesh) Read(ctx context.Context) ([]*resource.Object, []diag.Diagnostic, error) {
	return m.read(ctx)
}

// Objects is Read for commands that go on with what there is: what could not be read
// is said on standard error.
func (m *Mesh) Objects(ctx context.Context) ([]*resource.Object, error) {
	objects, findings, err := m.read(ctx)
	if m.say != nil {
		m.say(unread(findings))
	}
	return objects, err
}

// unread are the findings that say what an answer leaves out.
func unread(ds []diag.Diagnostic) []diag.Diagnostic {
	var out []diag.Diagnostic
	for _, d := range ds {
		if d.Code == resource.CodeSource || d.Severity == diag.Error {
			out = append(out, d)
		}
	}
	return out
}

// PodsIn lists pods of a namespace, or of all with "", ordered by name.
func (m *Mesh) PodsIn(ctx context.Context, namespace string) ([]api.Pod, error) {
	all, err := m.Pods(ctx)
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(all, func(p api.Pod) bool { return namespace != "" && p.Namespace != namespace })
	slices.SortFunc(pods, func(a, b api.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods, nil
}

// ParseSelector reads labels as -l has them.
func ParseSelector(text string) (labels.Selector, error) {
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, exit.Usagef("selector %q is not understood", text).Because(err)
	}
	return selector, nil
}

// ProxiesLabelled lists the running pods of PodsIn that have a proxy and the labels. None
// is an error.
func (m *Mesh) ProxiesLabelled(ctx context.Context, namespace string, selector labels.Selector) ([]api.Pod, error) {
	pods, err := m.PodsIn(ctx, namespace)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p api.Pod) bool {
		return p.Proxy == "none" || p.Phase != "Running" || !selector.Matches(labels.Set(p.Labels))
	})
	if len(pods) == 0 {
		return nil, exit.Failuref("no running pod with a proxy has the labels %s", selector).Try("meshctl get pods -A -l %s", selector)
	}
	return pods, nil
}
