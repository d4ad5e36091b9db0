package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// tool is a web page that others make.
type tool struct {
	name, title string
	port        int // where its page is, unless its Service says another
	path        string
	labels      []string // values of the labels app and app.kubernetes.io/name
	install     string   // how it is installed on a cluster
	fixed       bool     // port is what the user says, whatever the Service says
}

func tools() []tool {
	sample := func(file string) string { return "kubectl apply -f samples/addons/" + file }
	return []tool{
		{name: "kiali", title: "Kiali: the graph of the mesh", port: 20001, path: "/kiali/", labels: []string{"kiali"}, install: sample("kiali.yaml")},
		{name: "grafana", title: "Grafana: charts", port: 3000, path: "/", labels: []string{"grafana"}, install: sample("grafana.yaml")},
		{name: "prometheus", title: "Prometheus: metrics", port: 9090, path: "/", labels: []string{"prometheus"}, install: sample("prometheus.yaml")},
		{name: "jaeger", title: "Jaeger: traces", port: 16686, path: "/", labels: []string{"jaeger"}, install: sample("jaeger.yaml")},
		{name: "zipkin", title: "Zipkin: traces", port: 9411, path: "/", labels: []string{"zipkin"}, install: sample("extras/zipkin.yaml")},
		{
			name: "skywalking", title: "SkyWalking: traces and metrics", port: 8080, path: "/", labels: []string{"skywalking-ui", "skywalking"},
			install: "install it with its own Helm chart, apache/skywalking-helm; there is no sample of it",
		},
	}
}

func names() []string {
	var out []string
	for _, t := range tools() {
		out = append(out, t.name)
	}
	return out
}

// way is how a page is reached: by connections to a pod, or by a handler.
type way struct {
	to      string // for messages
	dial    func(context.Context) (net.Conn, error)
	handler http.Handler
}

func toPod(m *env.Mesh, p api.Pod, port int) way {
	id, address := p.Namespace+"/"+p.Name, net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return way{to: p.Name + "." + p.Namespace, dial: func(ctx context.Context) (net.Conn, error) { return m.Dial(ctx, id, address) }}
}

// notInstalledError marks the error that says that there is none.
type notInstalledError struct{ err *exit.Error }

func (n notInstalledError) Error() string { return n.err.Error() }
func (n notInstalledError) Unwrap() error { return n.err }

func missing(err error) bool {
	var n notInstalledError
	return errors.As(err, &n)
}

// service is what is read of one.
type service struct {
	Metadata struct {
		Namespace, Name string
		Labels          map[string]string
	}
	Spec struct {
		Selector map[string]string
		Ports    []struct {
			Name       string
			Port       int
			TargetPort any
		}
	}
}

// findTool looks for a Service of the tool, else for its pods; in the preferred
// namespaces first, then in all.
func findTool(ctx context.Context, m *env.Mesh, t tool, preferred []string) (way, error) {
	pods, err := m.PodsIn(ctx, "")
	if err != nil {
		return way{}, err
	}
	services, err := m.API.Objects(ctx, "", "Service", "", "")
	if err != nil {
		services = nil // who may not list them still finds pods by their labels
	}
	rank := func(namespace string) int {
		if i := slices.Index(preferred, namespace); i >= 0 {
			return i
		}
		return len(preferred)
	}
	slices.SortStableFunc(services, func(a, b meshapi.Object) int { return rank(a.Namespace) - rank(b.Namespace) })
	slices.SortStableFunc(pods, func(a, b api.Pod) int { return rank(a.Namespace) - rank(b.Namespace) })
	var waiting []api.Pod
	for _, o := range services {
		var s service
		if json.Unmarshal(o.Raw, &s) != nil || len(s.Spec.Selector) == 0 || !t.isCalled(o.Name, s.Metadata.Labels) {
			continue
		}
		port := t.port
		if !t.fixed {
			port = s.webPort(t.port)
		}
		if port == 0 {
			continue
		}
		for _, p := range pods {
			if p.Namespace == o.Namespace && selects(s.Spec.Selector, p.Labels) {
				if usable(p) {
					return toPod(m, p, port), nil
				}
				waiting = append(waiting, p)
			}
		}
	}
	for _, p := range pods {
		if t.isCalled("", p.Labels) {
			if usable(p) {
				return toPod(m, p, t.port), nil
			}
			waiting = append(waiting, p)
		}
	}
	if len(waiting) > 0 {
		return way{}, notReady(t, m, waiting[0])
	}
	missing := exit.Failuref("%s is not installed in %s", t.name, m.Where()).
		Because(errors.New("no namespace has a Service or a pod of that name or label"))
	if m.Cluster != nil {
		return way{}, notInstalledError{missing.Try("%s", t.install)}
	}
	return way{}, notInstalledError{missing.Try("give the mesh a Deployment with the label app: %s, and name its program in meshctl-local.yaml", t.labels[0])}
}

// notReady says which pod of a tool is waited for, and why.
func notReady(t tool, m *env.Mesh, p api.Pod) error {
	why := "pod " + p.Name + "." + p.Namespace
	switch {
	case p.Terminating:
		why += " is about to end"
	case p.Phase != "Running":
		why += " is " + p.Phase
	default:
		why += " runs, and is not ready"
	}
	if p.Reason != "" {
		why += ": " + p.Reason
	}
	for _, c := range p.Containers {
		if !c.Ready && c.Reason != "" {
			why += ", container " + c.Name + ": " + c.Reason
		}
	}
	err := exit.New(exit.Unreachable, "%s is there, but no pod of it is ready", t.name).Because(errors.New(why))
	if m.Cluster != nil {
		return err.Try("kubectl describe pod -n %s %s", p.Namespace, p.Name)
	}
	return err.Try("meshctl logs %s.%s", p.Name, p.Namespace)
}

// isCalled reports whether a Service or pod is the tool's, by label or name. What
// is labelled as another tool is that one's: Jaeger has a Service named zipkin.
func (t tool) isCalled(name string, labels map[string]string) bool {
	app, kube := labels["app"], labels["app.kubernetes.io/name"]
	if slices.Contains(t.labels, app) || slices.Contains(t.labels, kube) {
		return true
	}
	other := slices.ContainsFunc(tools(), func(o tool) bool {
		return slices.Contains(o.labels, app) || slices.Contains(o.labels, kube)
	})
	return !other && slices.Contains(t.labels, name)
}

// webPort is the pod's port behind the Service: the one that serves the usual port,
// else the only one there is; 0 when it is none of them.
func (s *service) webPort(usual int) int {
	for _, p := range s.Spec.Ports {
		target, ok := p.TargetPort.(float64)
		if !ok {
			target = float64(p.Port)
			if _, named := p.TargetPort.(string); named {
				target = float64(usual) // its number is the pod's business
			}
		}
		if p.Port == usual || int(target) == usual || len(s.Spec.Ports) == 1 {
			return int(target)
		}
	}
	return 0
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func usable(p api.Pod) bool { return p.Ready && !p.Terminating && p.Phase == "Running" }

// controlPlane is what the control plane shows of itself.
func (o *Options) controlPlane(m *env.Mesh) page {
	return page{name: "controlplane", port: 15014, path: "/debug/", find: func(ctx context.Context) (way, error) {
		all, err := m.API.Instances(ctx)
		if err != nil {
			return way{}, err
		}
		i := slices.IndexFunc(all, func(i meshapi.Instance) bool { return i.Problem == nil })
		if i < 0 {
			return way{}, exit.Failuref("no control plane answers").Try("meshctl version")
		}
		return way{to: all[i].Name, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := m.API.Page(r.Context(), all[i], r.URL.RequestURI())
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			if len(body) > 0 && (body[0] == '[' || body[0] == '{') {
				w.Header().Set("Content-Type", "application/json")
			}
			_, _ = w.Write(body)
		})}, nil
	}}
}
