package localmesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/static"
	"github.com/meshctl/meshctl/internal/version"
)

// maxRequest bounds an apply.
const maxRequest = 64 << 20

// handlers mounts the API on the control socket.
func (d *daemon) handlers() {
	h := d.env.Handle
	h("POST "+meshapi.PathApply, answer(d.apply))
	h("POST "+meshapi.PathDelete, answer(d.remove))
	h("GET "+meshapi.PathObjects, answer(d.list))
	h("GET "+meshapi.PathDiagnostics, answer(func(*http.Request) (any, error) {
		ds := append([]diag.Diagnostic{}, d.cp.Diagnostics()...) // never null
		return append(ds, d.cp.RefusalFindings()...), nil
	}))
	h("GET "+meshapi.PathSessions, answer(func(*http.Request) (any, error) { return d.cp.Server().Ledger().Sessions(), nil }))
	h("POST "+meshapi.PathWait, answer(d.wait))
	h("GET "+meshapi.PathInfo, answer(func(*http.Request) (any, error) { return d.info(), nil }))
	h("POST "+meshapi.PathOutage, answer(d.outage))
	h("POST "+meshapi.PathToken, answer(d.token))
	h("GET "+meshapi.PathDebug, http.StripPrefix("/mesh", d.cp.Debug()))
}

// answer makes a handler of a function: its value as JSON, or its error.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		v, err := f(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			e := &meshapi.Error{Status: http.StatusBadRequest, Message: err.Error()}
			var known *meshapi.Error
			if errors.As(err, &known) {
				e = known
			}
			w.WriteHeader(e.Status)
			_ = json.NewEncoder(w).Encode(e)
			return
		}
		if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(v)
	})
}

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fmt.Errorf("decode request: %w", err)
	}
	return nil
}

// decodeFiles reads and validates the objects of files.
func decodeFiles(files []meshapi.File, namespace string) ([]*resource.Object, []diag.Diagnostic) {
	var objects []*resource.Object
	var ds []diag.Diagnostic
	for _, f := range files {
		os, found := resource.Decode(f.Name, f.Data, resource.Options{DefaultNamespace: namespace})
		objects, ds = append(objects, os...), append(ds, found...)
	}
	for _, o := range objects {
		ds = append(ds, resource.Validate(o)...)
	}
	return objects, ds
}

func (d *daemon) apply(r *http.Request) (any, error) {
	var req meshapi.ApplyRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	objects, ds := decodeFiles(req.Files, req.Namespace)
	out := meshapi.ChangeResponse{Findings: ds, Changes: []meshapi.Change{}}
	if worst, any := diag.Worst(ds); any && worst == diag.Error {
		return out, nil
	}
	results, err := d.api.Apply(objects, static.ApplyOptions{DryRun: req.DryRun})
	if errors.Is(err, static.ErrConflict) {
		return nil, &meshapi.Error{Status: http.StatusConflict, Message: err.Error(), Fix: "read the object again and apply your change to what it is now"}
	}
	if err != nil {
		return nil, err
	}
	out.Changes = changes(results)
	return out, d.propagate(r.Context())
}

// patience is how long a change waits for the proxies to take it. One that
// cannot be reached does not hold the answer up for longer; see PathWait.
const patience = 2 * time.Second

// propagate waits until a change has gone through the control plane, and for a
// short while until the proxies have it: a request right after an answer should
// be served by what was applied.
func (d *daemon) propagate(ctx context.Context) error {
	gen, err := d.cp.Flush(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.cp.Server().Ledger().Wait(ctx, gen); err != nil {
		d.log.InfoContext(ctx, "not every proxy has acknowledged the change yet", "err", err)
	}
	return nil
}

func changes(rs []static.Result) []meshapi.Change {
	out := make([]meshapi.Change, 0, len(rs))
	for _, r := range rs {
		out = append(out, meshapi.Change{Key: keyOf(r.Key), Action: string(r.Action)})
	}
	return out
}

func keyOf(k resource.Key) meshapi.Key {
	return meshapi.Key{Group: k.Kind.Group, Kind: k.Kind.Kind, Namespace: k.Namespace, Name: k.Name}
}

func (d *daemon) remove(r *http.Request) (any, error) {
	var req meshapi.DeleteRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	objects, ds := decodeFiles(req.Files, req.Namespace)
	var keys []resource.Key
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	for _, k := range req.Keys {
		keys = append(keys, resource.Key{Kind: resource.Kind{Group: k.Group, Kind: k.Kind}, Namespace: k.Namespace, Name: k.Name})
	}
	for _, k := range keys {
		if _, _, held := d.api.Get(k); held || req.IgnoreMissing {
			continue
		}
		if o, src := d.objects.sourceOf(k); o != nil {
			return nil, notOurs(o, src)
		}
	}
	results, err := d.api.Delete(keys, req.IgnoreMissing)
	if errors.Is(err, static.ErrNotFound) {
		return nil, &meshapi.Error{Status: http.StatusNotFound, Message: err.Error(), Fix: "list what there is with: meshctl get KIND"}
	}
	if err != nil {
		return nil, err
	}
	return meshapi.ChangeResponse{Changes: changes(results), Findings: ds}, d.propagate(r.Context())
}

// notOurs says why an object that was not applied cannot be deleted.
func notOurs(o *resource.Object, src string) error {
	e := &meshapi.Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s was not applied: it comes from %s", o.Ref(), o.Pos)}
	if src == sourceBuiltin {
		e.Message = o.Ref().String() + " is part of every local mesh"
		e.Fix = "start the mesh without an ingress gateway: meshctl up --no-ingress"
		return e
	}
	e.Fix = "delete it from the file; the mesh follows"
	return e
}

func (d *daemon) list(r *http.Request) (any, error) {
	q := r.URL.Query()
	want := func(k resource.Key) bool {
		return (q.Get("kind") == "" || q.Get("kind") == k.Kind.Kind && q.Get("group") == k.Kind.Group) &&
			(q.Get("namespace") == "" || k.Namespace == "" || q.Get("namespace") == k.Namespace) &&
			(q.Get("name") == "" || q.Get("name") == k.Name)
	}
	out := []meshapi.Object{}
	for _, o := range d.cp.Objects() {
		if !want(o.Key) {
			continue
		}
		src := sourceRuntime
		if _, s := d.objects.sourceOf(o.Key); s != "" {
			src = s
		}
		out = append(out, meshapi.Object{Key: keyOf(o.Key), APIVersion: o.APIVersion, Pos: o.Pos, Source: src, Created: d.objects.createdAt(o), Raw: o.Raw})
	}
	return out, nil
}

func (d *daemon) wait(r *http.Request) (any, error) {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 || timeout > 10*time.Minute {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	gen, err := d.cp.Flush(ctx)
	if err == nil {
		err = d.cp.Server().Ledger().Wait(ctx, gen)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &meshapi.Error{Status: http.StatusGatewayTimeout, Message: "not every proxy has acknowledged the configuration in time", Fix: "see which: meshctl proxy-status"}
	}
	return nil, err
}

func (d *daemon) info() meshapi.Info {
	in := meshapi.Info{
		Version: version.Get(), APIVersion: version.APIVersion, Started: d.started, TrustDomain: trustDomain,
		RootExpires: d.core.CA.NotAfter(), Discovery: d.env.Gateway.String() + ":15012", Instance: "istiod-" + d.env.Settings.Name,
		Sources: []string{sourceAPI, sourceBuiltin},
	}
	if d.files != nil {
		in.Sources = append(in.Sources, d.files.Name())
	}
	return in
}

// maxTokenLife bounds a token for a machine; with a certificate it needs none.
const maxTokenLife = 24 * time.Hour

// token gives what a machine needs to join: only whoever runs the mesh can ask.
func (d *daemon) token(r *http.Request) (any, error) {
	q := r.URL.Query()
	ttl, err := time.ParseDuration(q.Get("ttl"))
	if err != nil || ttl < time.Second || ttl > maxTokenLife {
		return nil, fmt.Errorf("ttl=%q is not a duration from 1s to %s", q.Get("ttl"), maxTokenLife)
	}
	id := identity.ID{TrustDomain: trustDomain, Namespace: q.Get("namespace"), ServiceAccount: q.Get("serviceAccount")}
	if _, err := identity.ParseID(id.String()); err != nil {
		return nil, err
	}
	token, err := d.tokens.Issue(id.Namespace, id.ServiceAccount, "", ttl)
	if err != nil {
		return nil, err
	}
	return meshapi.Token{Token: token, RootCert: string(d.core.CA.Roots()), Discovery: d.info().Discovery}, nil
}

func (d *daemon) outage(r *http.Request) (any, error) {
	dur, err := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil || dur <= 0 || dur > 10*time.Minute {
		return nil, fmt.Errorf("for=%q is not a duration up to 10m", r.URL.Query().Get("for"))
	}
	d.ports.outage(context.WithoutCancel(r.Context()), dur)
	return nil, nil //nolint:nilnil // nothing to say
}
