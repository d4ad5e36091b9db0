package kube

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Lists of a kind are asked for in pages, a few kinds at once: somebody waits, and
// the API server has others to serve.
const (
	pageSize = 500
	atOnce   = 8
)

// asked are Kubernetes' own kinds as Once reads them. Pods and what people ask about
// are whole; what runs pods, and whose accounts they have, is there, too, where it may
// be listed.
func (s *Source) asked() []kind {
	out := s.builtin()
	for i := range out {
		switch out[i].kind {
		case resource.KindPod, resource.KindService, resource.KindNamespace, resource.KindIngress:
			out[i].trim = whole
		}
	}
	for _, k := range []struct {
		of    resource.Kind
		empty runtime.Object
	}{
		{resource.KindDeployment, &appsv1.Deployment{}},
		{resource.KindStatefulSet, &appsv1.StatefulSet{}},
		{resource.KindDaemonSet, &appsv1.DaemonSet{}},
		{resource.KindServiceAccount, &corev1.ServiceAccount{}},
	} {
		out = append(out, kind{
			id: k.of.String(), kind: k.of, gvr: schema.GroupVersionResource{Group: k.of.Group, Version: "v1", Resource: resource.InfoOf(k.of).Plural},
			empty: k.empty, trim: whole, optional: true,
		})
	}
	return out
}

// whole leaves out what the API server keeps for itself.
func whole(o runtime.Object) metav1.Object {
	m, ok := o.(metav1.Object)
	if !ok {
		return nil
	}
	m.SetManagedFields(nil)
	if a := m.GetAnnotations(); a[lastApplied] != "" {
		a = maps.Clone(a)
		delete(a, lastApplied)
		m.SetAnnotations(a)
	}
	return m
}

// lastApplied is where kubectl keeps a copy of the object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Once reads everything that Run would, once, for somebody who asks about the
// cluster; the right to list is enough. Kinds that may not be listed in the whole
// cluster are listed in the namespace within, if that may be ("" for none). What is
// not read is a finding; an error says that the API server does not answer.
func (s *Source) Once(ctx context.Context, within string) ([]*resource.Object, []diag.Diagnostic, error) {
	served, err := s.served()
	if err != nil {
		return nil, nil, err
	}
	var untold []once // what tags there are, by which objects may be labelled
	switch err := s.tags.read(ctx); {
	case apierrors.IsForbidden(err):
		untold = []once{{denied: &denied{resource: tagKind.gvr.GroupResource().String(), err: err}}}
	case err != nil:
		return nil, nil, fmt.Errorf("list tags: %w", err)
	}
	kinds := s.asked()
	for _, info := range customInfos() {
		if version := served[info.Kind]; version != "" {
			kinds = append(kinds, custom(info, version))
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	found := make([]once, len(kinds))
	turn := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	for i, k := range kinds {
		wait.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			var err error
			if found[i], err = s.once(ctx, k, within); err != nil {
				cancel(err)
			}
		})
	}
	wait.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, nil, err
	}
	var objects []*resource.Object
	var findings []diag.Diagnostic
	for _, f := range found {
		objects, findings = append(objects, f.objects...), append(findings, f.findings...)
	}
	hidden, all := notListed(slices.Concat(found, untold))
	if all != nil {
		return nil, nil, all
	}
	findings = append(findings, hidden...)
	slices.SortFunc(objects, func(a, b *resource.Object) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return objects, slices.CompactFunc(findings, func(a, b diag.Diagnostic) bool { return a.Message == b.Message && a.Object == b.Object }), nil
}

// once is what was read of one kind.
type once struct {
	objects  []*resource.Object
	findings []diag.Diagnostic
	denied   *denied // nil when it may be listed
	optional bool
}

// denied is a kind that may not be listed where it was to be.
type denied struct {
	resource string // services, gateways.networking.istio.io
	where    string // the namespace; "" for the whole cluster
	instead  string // the namespace whose objects were listed instead; "" for none
	err      error
}

// ForbiddenError says that none of the kinds may be listed.
type ForbiddenError struct {
	Resources []string // services, gateways.networking.istio.io
	Err       error    // what the API server says of the first
}

func (e *ForbiddenError) Error() string {
	return "list " + strings.Join(e.Resources, ", ") + ": " + e.Err.Error()
}

// Unwrap gives the answer of the API server.
func (e *ForbiddenError) Unwrap() error { return e.Err }

func (s *Source) once(ctx context.Context, k kind, within string) (once, error) {
	out, err := s.pages(ctx, k)
	out.optional = k.optional
	if !apierrors.IsForbidden(err) {
		return out, err
	}
	no := &denied{resource: k.gvr.GroupResource().String(), where: k.namespace, err: err}
	if info := resource.InfoOf(k.kind); within != "" && k.namespace == "" && info != nil && info.Namespaced {
		narrow := k
		narrow.namespace = within
		out, err = s.pages(ctx, narrow)
		out.optional = k.optional
		if err != nil && !apierrors.IsForbidden(err) {
			return out, err
		}
		if err == nil {
			no.instead = within
		}
	}
	if !k.optional {
		out.denied = no
	}
	return out, nil
}

// notListed says what somebody who asks may not see: one finding for all kinds that
// are left out alike. The error is for somebody who may see nothing.
func notListed(found []once) ([]diag.Diagnostic, error) {
	type part struct{ where, instead string }
	resources := map[part][]string{}
	var order []part
	everything := &ForbiddenError{}
	for _, f := range found {
		d := f.denied
		if d == nil && f.optional {
			continue
		}
		if d == nil {
			everything = nil
			continue
		}
		p := part{d.where, d.instead}
		if resources[p] == nil {
			order = append(order, p)
		}
		if !slices.Contains(resources[p], d.resource) {
			resources[p] = append(resources[p], d.resource)
		}
		switch {
		case everything == nil:
		case d.instead != "":
			everything = nil
		default:
			everything.Err = cmp.Or(everything.Err, d.err)
			if !slices.Contains(everything.Resources, d.resource) {
				everything.Resources = append(everything.Resources, d.resource)
			}
		}
	}
	if everything != nil && everything.Err != nil {
		return nil, everything
	}
	var out []diag.Diagnostic
	for _, p := range order {
		where, flag := "in the whole cluster", "-A"
		if p.where != "" {
			where, flag = "in namespace "+p.where, "-n "+p.where
		}
		d := diag.Diagnostic{
			Code: resource.CodeSource, Severity: diag.Warning, Object: diag.Object{Kind: "Cluster"},
			Message: fmt.Sprintf("you may not list %s %s", strings.Join(resources[p], ", "), where),
			Effect:  "the answer is given as if there were none",
			Fix:     fmt.Sprintf("ask the cluster's administrator; check with: kubectl auth can-i list %s %s", resources[p][0], flag),
		}
		if p.instead != "" {
			d.Effect = "the answer is given with those of namespace " + p.instead + " alone"
		}
		out = append(out, d)
	}
	return out, nil
}

// pages lists a kind to its end. A kind that is no longer served has no objects.
func (s *Source) pages(ctx context.Context, k kind) (once, error) {
	var out once
	lw := s.listWatch(k)
	options := metav1.ListOptions{Limit: pageSize}
	for {
		list, err := lw.ListWithContext(ctx, options)
		switch {
		case apierrors.IsNotFound(err):
			return out, nil
		case apierrors.IsResourceExpired(err) && options.Continue != "":
			out, options = once{}, metav1.ListOptions{} // it took too long: all at once, then
			continue
		case err != nil:
			return once{}, fmt.Errorf("list %s: %w", cmp.Or(k.gvr.GroupResource().String(), k.id), err)
		}
		err = meta.EachListItem(list, func(o runtime.Object) error {
			it, err := s.item(k, o)
			if err != nil {
				return err
			}
			if it.object == nil {
				it.object = it.standIn
			}
			if it.object != nil {
				out.objects = append(out.objects, it.object)
			}
			out.findings = append(out.findings, it.findings...)
			return nil
		})
		if err != nil {
			return once{}, err
		}
		m, err := meta.ListAccessor(list)
		if err != nil {
			return once{}, fmt.Errorf("list %s: %w", k.id, err)
		}
		if options.Continue = m.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}
