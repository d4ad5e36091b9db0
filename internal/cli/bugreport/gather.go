package bugreport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/version"
)

// Bounds of the gathering: a mesh that is in trouble is not asked for much at once.
const (
	atOnce     = 4
	perItem    = 30 * time.Second
	adminPort  = 15000
	maxProxies = 300
)

// gatherer asks for everything and puts it into the archive.
type gatherer struct {
	o       *Options
	mesh    *env.Mesh
	archive *archive
	secrets redactor

	mu     sync.Mutex
	failed []problem
}

// item is one file of the archive.
type item struct {
	name string
	get  func(context.Context) ([]byte, error)
}

// all gathers everything; what fails is recorded.
func (g *gatherer) all(ctx context.Context, pods []api.Pod) {
	g.secrets = newRedactor()
	items := slices.Concat(g.objects(), g.controlPlane(ctx), g.events(), g.findings(), []item{{"pods.json", func(context.Context) ([]byte, error) { return indent(pods) }}}, g.podItems(pods))
	next := make(chan item)
	var wait sync.WaitGroup
	for range atOnce {
		wait.Go(func() {
			for it := range next {
				g.one(ctx, it)
			}
		})
	}
	for _, it := range items {
		next <- it
	}
	close(next)
	wait.Wait()
}

func (g *gatherer) one(ctx context.Context, it item) {
	if ctx.Err() != nil {
		g.fail(it.name, ctx.Err())
		return
	}
	short, cancel := context.WithTimeout(ctx, perItem)
	defer cancel()
	data, err := it.get(short)
	if err != nil {
		g.fail(it.name, err)
	}
	if len(data) == 0 {
		return
	}
	if err := g.archive.add(it.name, g.secrets.redact(data)); err != nil {
		g.fail(it.name, err)
	}
}

func (g *gatherer) fail(what string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = append(g.failed, problem{what, err})
}

// leaves reports whether objects of a kind are left out: keys, what there is too much
// of, and what stands elsewhere.
func leaves(k resource.Kind) bool {
	return slices.Contains([]resource.Kind{
		resource.KindSecret, resource.KindConfigMap, resource.KindReplicaSet, resource.KindEndpoints, resource.KindPod,
	}, k)
}

// objects are those of every kind that the mesh reads, a file each.
func (g *gatherer) objects() []item {
	var out []item
	for _, info := range resource.Kinds() {
		if info.IsTolerated() || leaves(info.Kind) {
			continue
		}
		name := info.Plural
		if info.Kind.Group != "" {
			name += "." + info.Kind.Group
		}
		out = append(out, item{"objects/" + name + ".json", func(ctx context.Context) ([]byte, error) {
			found, err := g.mesh.API.Objects(ctx, info.Kind.Group, info.Kind.Kind, "", "")
			if err != nil || len(found) == 0 {
				return nil, err
			}
			raw := make([]json.RawMessage, 0, len(found))
			for _, o := range found {
				raw = append(raw, o.Raw)
			}
			return indent(raw)
		}})
	}
	return append(out, item{"objects/mesh-config.json", func(ctx context.Context) ([]byte, error) {
		all, err := g.mesh.API.Objects(ctx, "", "ConfigMap", g.o.Env.Settings.IstioNamespace, "istio")
		if err != nil || len(all) == 0 {
			return nil, err
		}
		return all[0].Raw, nil
	}})
}

// controlPlane are the pages of each of its processes.
func (g *gatherer) controlPlane(ctx context.Context) []item {
	short, cancel := context.WithTimeout(ctx, perItem)
	defer cancel()
	instances, err := g.mesh.API.Instances(short)
	if err != nil {
		g.fail("control plane", err)
		return nil
	}
	var out []item
	for _, i := range instances {
		if i.Problem != nil {
			g.fail("control plane "+i.Name, i.Problem)
			continue
		}
		pages := []string{"/debug/syncz", "/debug/registryz", "/debug/endpointz", "/debug/mesh", "/debug/connections", "/debug/diagnosticz"}
		if g.mesh.Cluster != nil {
			pages = append(pages, "/metrics", "/version")
		}
		for _, p := range pages {
			name := strings.TrimPrefix(strings.TrimPrefix(p, "/"), "debug/")
			out = append(out, item{"controlplane/" + i.Name + "/" + name + ".txt", func(ctx context.Context) ([]byte, error) {
				return g.mesh.API.Page(ctx, i, p)
			}})
		}
	}
	return append(out, item{"controlplane/instances.json", func(context.Context) ([]byte, error) { return indent(instances) }})
}

// events are what Kubernetes, or the local mesh, has to say of late.
func (g *gatherer) events() []item {
	return []item{{"events.json", func(ctx context.Context) ([]byte, error) {
		if g.mesh.Cluster == nil {
			l, ok := g.mesh.Home.(interface {
				Events(ctx context.Context, after uint64, follow bool, each func(api.Event) error) error
			})
			if !ok {
				return nil, nil
			}
			var all []api.Event
			err := l.Events(ctx, 0, false, func(e api.Event) error {
				all = append(all, e)
				return nil
			})
			if err != nil {
				return nil, err
			}
			return indent(all)
		}
		c := g.mesh.Cluster.Client()
		list, err := c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"}).List(ctx, metav1.ListOptions{Limit: 2000})
		if err != nil {
			return nil, c.Explain(err, "list events in all namespaces")
		}
		for i := range list.Items {
			list.Items[i].SetManagedFields(nil)
		}
		return list.MarshalJSON()
	}}}
}

// findings are those of analyze.
func (g *gatherer) findings() []item {
	return []item{{"analyze.json", func(ctx context.Context) ([]byte, error) {
		objects, found, err := g.mesh.Read(ctx)
		if err != nil {
			return nil, err
		}
		more, err := analyze.Run(ctx, analyze.Input{Objects: objects, Complete: true, Now: g.o.Env.Now()})
		if err != nil {
			return nil, err
		}
		return indent(append(found, more...))
	}}}
}

// podItems are logs and what proxies say, of the pods that are wanted; pods with
// trouble come first, since the archive may get full.
func (g *gatherer) podItems(pods []api.Pod) []item {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p api.Pod) bool { return !g.o.wants(p.Namespace) })
	slices.SortStableFunc(pods, func(a, b api.Pod) int {
		switch {
		case a.Ready == b.Ready:
			return 0
		case b.Ready:
			return -1
		}
		return 1
	})
	var out []item
	proxies := 0
	for _, p := range pods {
		if p.Proxy == "none" && p.Labels["app"] != "istiod" {
			continue // not the mesh's
		}
		dir := "pods/" + p.Namespace + "/" + p.Name + "/"
		for _, c := range p.Containers {
			out = append(out, item{dir + c.Name + ".log", func(ctx context.Context) ([]byte, error) {
				var b bytes.Buffer
				err := g.mesh.Logs(ctx, p.Namespace, p.Name, client.LogOptions{Container: c.Name, Lines: g.o.Lines}, &b)
				return b.Bytes(), err
			}})
		}
		if p.Proxy == "none" || p.Phase != "Running" {
			continue
		}
		if proxies++; proxies > maxProxies {
			continue
		}
		for _, page := range []string{"config_dump", "clusters?format=json", "stats", "certs", "server_info", "listeners"} {
			name, _, _ := strings.Cut(page, "?")
			out = append(out, item{dir + "proxy/" + name + ".txt", func(ctx context.Context) ([]byte, error) {
				return g.mesh.AskProxy(ctx, p, adminPort, http.MethodGet, "/"+page)
			}})
		}
	}
	if proxies > maxProxies {
		g.fail("proxies", fmt.Errorf("%d of %d: --include takes those of some namespaces", proxies-maxProxies, proxies))
	}
	return out
}

// summary is the first thing to read.
func (g *gatherer) summary(began time.Time) {
	text := fmt.Sprintf("meshctl %s\n%s\ngathered %s\n\n", version.Get(), g.mesh.Where(), began.UTC().Format(time.RFC3339))
	if lines := g.problems(); len(lines) > 0 {
		text += "left out:\n  " + strings.Join(lines, "\n  ") + "\n"
	} else {
		text += "nothing was left out\n"
	}
	g.archive.mu.Lock()
	g.archive.room = max(g.archive.room, int64(len(text))) // this always fits
	g.archive.mu.Unlock()
	if err := g.archive.add("README.txt", []byte(text)); err != nil {
		g.fail("README.txt", err)
	}
}

func indent(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
