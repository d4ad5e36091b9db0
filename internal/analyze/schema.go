package analyze

import (
	"context"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// schema validates each object by itself.
func schema(_ context.Context, w *world) ([]diag.Diagnostic, error) {
	var out []diag.Diagnostic
	for _, o := range w.objects {
		if !w.isContext(o.Ref()) {
			out = append(out, resource.Validate(o)...)
		}
	}
	return out, nil
}
