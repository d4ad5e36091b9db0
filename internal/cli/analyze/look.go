package analyze

import (
	"context"

	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/analyze/rule"
	"github.com/meshctl/meshctl/internal/diag"
)

// look runs the analyzers and the user's rules.
func (o *Options) look(ctx context.Context, in *gathered) ([]diag.Diagnostic, error) {
	found := in.found
	if len(in.Objects)+len(in.Context) > 0 {
		ds, err := checks.Run(ctx, in.Input)
		if err != nil {
			return nil, err
		}
		found = append(found, notSaid(ds, in.found)...)
	}
	found = append(found, rule.Run(ctx, in.rules, in.Objects)...)
	return found, ctx.Err()
}

// notSaid leaves out what was already found: the same code about the same field.
func notSaid(ds, found []diag.Diagnostic) []diag.Diagnostic {
	type about struct {
		code, field string
		object      diag.Object
	}
	said := map[about]bool{}
	for _, d := range found {
		said[about{d.Code, d.Field, d.Object}] = true
	}
	var out []diag.Diagnostic
	for _, d := range ds {
		if !said[about{d.Code, d.Field, d.Object}] {
			out = append(out, d)
		}
	}
	return out
}
