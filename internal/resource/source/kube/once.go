package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Lists of a kind are asked for in pages, a few kinds at once: somebody waits, and
// the API server has others to serve.
const (
	pageSize = 500
	atOnce   = 8
)

// Once reads everything that Run would, once, for somebody who asks about the
// cluster; the right to list is enough. Kinds that may not be listed in the whole
// cluster are listed in the namespace within, if that may be ("" for none). What is
// not read is a finding; an error says that the API server does not answer.
func (s *Source) Once(ctx context.Context, within string) ([]*resource.Object, []diag.Diagnostic, error) {
	served, err := s.served()
	if err != nil {
		return nil, nil, err
	}
	var findings []diag.Diagnostic
	switch err := s.tags.read(ctx); {
	case apierrors.IsForbidden(err):
		findings = append(findings, notListed(tagKind, ""))
	case err != nil:
		return nil, nil, fmt.Errorf("list tags: %w", err)
	}
	kinds := s.builtin()
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
	for _, f := range found {
		objects, findings = append(objects, f.objects...), append(findings, f.findings...)
	}
	slices.SortFunc(objects, func(a, b *resource.Object) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return objects, slices.CompactFunc(findings, func(a, b diag.Diagnostic) bool { return a.Message == b.Message && a.Object == b.Object }), nil
}

// once is what was read of one kind.
type once struct {
	objects  []*resource.Object
	findings []diag.Diagnostic
}

func (s *Source) once(ctx context.Context, k kind, within string) (once, error) {
	out, err := s.pages(ctx, k)
	if !apierrors.IsForbidden(err) {
		return out, err
	}
	where := ""
	if info := resource.InfoOf(k.kind); within != "" && k.namespace == "" && info != nil && info.Namespaced {
		narrow := k
		narrow.namespace = within
		if out, err = s.pages(ctx, narrow); err != nil && !apierrors.IsForbidden(err) {
			return out, err
		}
		if err == nil {
			where = within
		}
	}
	out.findings = append(out.findings, notListed(k, where))
	return out, nil
}

// notListed says what somebody who asks may not see.
func notListed(k kind, instead string) diag.Diagnostic {
	name := k.gvr.GroupResource().String()
	d := diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Warning, Object: diag.Object{Kind: k.kind.Kind},
		Message: fmt.Sprintf("you may not list %s in the whole cluster", name),
		Effect:  "the answer is given as if there were none",
		Fix:     "ask the cluster's administrator; check with: kubectl auth can-i list " + name + " -A",
	}
	if k.namespace != "" {
		d.Message = fmt.Sprintf("you may not list %s in namespace %s", name, k.namespace)
		d.Fix = "ask the cluster's administrator; check with: kubectl auth can-i list " + name + " -n " + k.namespace
	}
	if instead != "" {
		d.Effect = "the answer is given with those of namespace " + instead + " alone"
	}
	return d
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
