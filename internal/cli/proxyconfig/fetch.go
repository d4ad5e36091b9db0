package proxyconfig

import (
	"context"
	"io"
	"net/http"
	"os"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/local/api"
)

// need is which of the admin interface's documents a command reads.
type need struct{ config, hosts bool }

// subject is one proxy and what it said.
type subject struct {
	Name string // pod.namespace, or the file
	Dump *dump.Dump
	// Config and Hosts are the documents as they came.
	Config, Hosts []byte
}

// fetch reads from every proxy, in order of their names.
func (t *Target) fetch(ctx context.Context, n need) ([]subject, error) {
	if t.File != "" {
		s, err := t.readFile()
		return []subject{s}, err
	}
	proxies, err := t.proxies(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]subject, len(proxies))
	for i, p := range proxies {
		if out[i], err = p.read(ctx, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Target) readFile() (subject, error) {
	name, in := t.File, t.Env.IO.In
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return subject{}, exit.Dataf("cannot read the dump").Because(err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, env.MaxAnswer+1))
	if err != nil {
		return subject{}, exit.Dataf("cannot read %s", name).Because(err)
	}
	if len(data) > env.MaxAnswer {
		return subject{}, exit.Dataf("%s is larger than %d bytes", name, env.MaxAnswer)
	}
	d, err := dump.Parse(data)
	if err != nil {
		return subject{}, exit.Dataf("%s is no proxy dump", name).Because(err).
			Try("meshctl proxy-config all POD -o json > dump.json").Try("curl localhost:15000/config_dump > dump.json, for an Envoy")
	}
	return subject{Name: name, Dump: d, Config: data}, nil
}

// proxy is the admin interface of one pod.
type proxy struct {
	name string
	mesh *env.Mesh
	pod  api.Pod
	port int
}

// proxies finds the pods that are meant.
func (t *Target) proxies(ctx context.Context) ([]proxy, error) {
	m, err := t.Env.Mesh(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := t.pods(ctx, m)
	if err != nil {
		return nil, err
	}
	var out []proxy
	for _, p := range pods {
		name := p.Name + "." + p.Namespace
		if p.Proxy == "none" {
			return nil, exit.Failuref("pod %s has no proxy", name).Try("meshctl get pods -o wide")
		}
		out = append(out, proxy{name, m, p, t.AdminPort})
	}
	return out, nil
}

func (t *Target) pods(ctx context.Context, m *env.Mesh) ([]api.Pod, error) {
	if t.Selector == "" {
		var out []api.Pod
		for _, arg := range t.Pods {
			p, err := t.Env.FindPod(ctx, m, arg)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		return out, nil
	}
	selector, err := env.ParseSelector(t.Selector)
	if err != nil {
		return nil, err
	}
	return m.ProxiesLabelled(ctx, t.Env.Settings.Namespace, selector)
}

// call asks the admin interface.
func (p proxy) call(ctx context.Context, method, path string) ([]byte, error) {
	return p.mesh.AskProxy(ctx, p.pod, p.port, method, path)
}

func (p proxy) read(ctx context.Context, n need) (subject, error) {
	s := subject{Name: p.name, Dump: &dump.Dump{}}
	var err error
	if n.config {
		if s.Config, err = p.call(ctx, http.MethodGet, "/config_dump"); err != nil {
			return s, err
		}
		if s.Dump, err = dump.Parse(s.Config); err != nil {
			return s, exit.Failuref("the proxy of %s says something unknown", p.name).Because(err)
		}
	}
	if n.hosts {
		if s.Hosts, err = p.call(ctx, http.MethodGet, "/clusters?format=json"); err != nil {
			return s, err
		}
		if err := s.Dump.AddHosts(s.Hosts); err != nil {
			return s, exit.Failuref("the proxy of %s says something unknown", p.name).Because(err)
		}
	}
	return s, nil
}
