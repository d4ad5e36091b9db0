package rule

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// CodeFailed is that of a rule which could not be evaluated.
const CodeFailed = "MSH0109"

// Run checks objects against rules. A rule that cannot be evaluated for an object,
// or costs too much, is a finding about the rule.
func Run(ctx context.Context, rules []Rule, objects []*resource.Object) []diag.Diagnostic {
	s := &run{namespaces: map[string]*resource.Object{}}
	for _, o := range objects {
		if o.Key.Kind == resource.KindNamespace {
			s.namespaces[o.Key.Name] = o
		}
	}
	s.all = sync.OnceValue(func() any {
		out := make([]any, 0, len(objects))
		for _, o := range objects {
			out = append(out, plain(o))
		}
		return out
	})
	var out []diag.Diagnostic
	for i := range rules {
		out = append(out, s.rule(ctx, &rules[i], objects)...)
	}
	return out
}

// run is what evaluations share.
type run struct {
	namespaces map[string]*resource.Object
	all        func() any
}

// plain is an object as it is written, for expressions; whole numbers stay whole.
func plain(o *resource.Object) any {
	var v map[string]any
	if o == nil || json.Unmarshal(o.Raw, &v) != nil {
		return nil
	}
	return v
}

func (s *run) rule(ctx context.Context, r *Rule, objects []*resource.Object) []diag.Diagnostic {
	var out []diag.Diagnostic
	var failed error
	var first *resource.Object
	failures, cost := 0, uint64(0)
	for _, o := range objects {
		if !r.isFor(o) || ctx.Err() != nil {
			continue
		}
		vars := map[string]any{
			"object": plain(o), "objects": s.all,
			"namespaceObject": func() any { return plain(s.namespaces[o.Key.Namespace]) },
		}
		ok, spent, err := evaluate[bool](ctx, r.expression, vars)
		cost += spent
		switch {
		case err != nil:
			if failures++; failed == nil {
				failed, first = err, o
			}
		case !ok:
			out = append(out, r.finding(ctx, o, vars))
		}
		if cost > costOfAll {
			return append(out, r.failure(nil, fmt.Errorf("it costs more than %d for all objects", costOfAll), "objects after "+o.Ref().String()+" are not checked"))
		}
	}
	if failed != nil {
		effect := "whether the rule holds is not known"
		if failures > 1 {
			effect += fmt.Sprintf(", nor for %d other objects", failures-1)
		}
		out = append(out, r.failure(first, failed, effect))
	}
	return out
}

// isFor reports whether a rule is for objects of this kind.
func (r *Rule) isFor(o *resource.Object) bool {
	return slices.ContainsFunc(r.kinds, func(k string) bool { return k == "*" || k == o.Key.Kind.Kind || k == o.Key.Kind.String() })
}

func (r *Rule) finding(ctx context.Context, o *resource.Object, vars map[string]any) diag.Diagnostic {
	d := diag.Diagnostic{
		Code: r.Code, Severity: r.Level, Object: o.Ref(), Pos: o.At(r.field), Field: r.field,
		Message: r.message, Effect: r.effect, Fix: r.fix,
	}
	if r.messageOf != nil {
		text, _, err := evaluate[string](ctx, r.messageOf, vars)
		if err != nil {
			text = "the rule does not hold, and its message cannot be made: " + err.Error()
		}
		d.Message = text
	}
	return d
}

// failure is a finding about the rule itself.
func (r *Rule) failure(o *resource.Object, err error, effect string) diag.Diagnostic {
	d := diag.Diagnostic{
		Code: CodeFailed, Severity: diag.Warning, Pos: r.pos, Message: "rule " + r.Code + ": " + err.Error(), Effect: effect,
		Fix: "ask with has() before a field that may be missing, and keep the expression small",
	}
	if o != nil {
		d.Object = o.Ref()
	}
	return d
}

// evaluate runs a program and takes its result as a T.
func evaluate[T any](ctx context.Context, p cel.Program, vars map[string]any) (value T, cost uint64, err error) {
	out, details, err := p.ContextEval(ctx, vars)
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	if err != nil {
		return value, cost, err
	}
	value, ok := out.Value().(T)
	if !ok {
		return value, cost, fmt.Errorf("it gives a %s", out.Type())
	}
	return value, cost, nil
}
