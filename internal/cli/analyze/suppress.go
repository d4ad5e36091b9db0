package analyze

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"istio.io/api/annotation"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// suppression leaves findings out: CODE=Kind name.namespace, each part a glob.
type suppression struct{ code, origin string }

// parseSuppression reads one, as istioctl has them.
func parseSuppression(s string) (suppression, error) {
	code, pattern, ok := strings.Cut(s, "=")
	code, pattern = strings.TrimSpace(code), strings.TrimSpace(pattern)
	if !ok || code == "" || pattern == "" {
		return suppression{}, errors.New("it is not CODE=Kind name.namespace")
	}
	for _, p := range []string{code, pattern} {
		if _, err := path.Match(p, ""); err != nil {
			return suppression{}, fmt.Errorf("%q is no pattern: %w", p, err)
		}
	}
	return suppression{code, pattern}, nil
}

func (s suppression) covers(d diag.Diagnostic) bool {
	code, _ := path.Match(s.code, d.Code)                   // checked when it was read
	object, _ := path.Match(s.origin, suppressed(d.Object)) // as above
	return code && object
}

// suppressed is the form of an object that istioctl suppresses by: Kind name.namespace.
func suppressed(o diag.Object) string {
	if o.Name != "" && o.Namespace != "" {
		return o.Kind + " " + o.Name + "." + o.Namespace
	}
	return o.String()
}

// annotatedCodes are the codes that an object's own annotation leaves out: a list
// with commas, or * for all.
func annotatedCodes(objects []*resource.Object) map[diag.Object][]string {
	out := map[diag.Object][]string{}
	for _, o := range objects {
		if v := o.Meta.Annotations[annotation.GalleyAnalyzeSuppress.Name]; v != "" {
			for code := range strings.SplitSeq(v, ",") {
				out[o.Ref()] = append(out[o.Ref()], strings.TrimSpace(code))
			}
		}
	}
	return out
}

// wanted leaves out what the user does not want to hear of. Broken text is never
// left out: what it would say is not known.
func (o *Options) wanted(found []diag.Diagnostic, in *gathered) []diag.Diagnostic {
	annotated := annotatedCodes(in.Objects)
	ns := o.Env.Settings.Namespace
	return slices.DeleteFunc(found, func(d diag.Diagnostic) bool {
		switch {
		case d.Code == resource.CodeSyntax:
			return false
		case ns != "" && !o.All && d.Object.Namespace != "" && d.Object.Namespace != ns:
			return true
		case o.IgnoreMissing && d.Severity == diag.Unknown:
			return true
		}
		codes := annotated[d.Object]
		return slices.Contains(codes, d.Code) || slices.Contains(codes, "*") ||
			slices.ContainsFunc(o.Suppress, func(s suppression) bool { return s.covers(d) })
	})
}
