package analyze

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/resource"
)

// codeTemplate: a file is a template of a Helm chart, not YAML yet.
const codeTemplate = "MSH0108"

// action is a piece of a template that text of another kind rarely has.
var action = regexp.MustCompile(`\{\{-?\s*(/\*|\.|\$|if |else|end\b|range |with |define |include |template |block |tpl |toYaml |default |required |quote |printf |lookup )`)

// chartOf is the folder of the chart that a file is a template of, "" when it is of
// none: one above it is named templates, beside a Chart.yaml.
func chartOf(name string) string {
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if filepath.Base(dir) == "templates" {
			if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "Chart.yaml")); err == nil {
				return filepath.Dir(dir)
			}
		}
		if parent := filepath.Dir(dir); parent == dir {
			return ""
		}
	}
}

// isTemplate reports whether a text is a template: it has actions, and is in a chart
// or is no YAML as it is.
func isTemplate(f meshapi.File, docs []resource.Document) bool {
	if !bytes.Contains(f.Data, []byte("{{")) || !action.Match(f.Data) {
		return false
	}
	if chartOf(f.Name) != "" {
		return true
	}
	return slices.ContainsFunc(docs, func(d resource.Document) bool {
		return slices.ContainsFunc(d.Diagnostics, func(d diag.Diagnostic) bool { return d.Severity == diag.Error })
	})
}

// templateFindings says once per chart, or folder, that its templates are left out.
func templateFindings(files []meshapi.File) []diag.Diagnostic {
	byChart := map[string][]meshapi.File{}
	var order []string
	for _, f := range files {
		chart := chartOf(f.Name)
		if chart == "" {
			chart = filepath.Dir(f.Name)
		}
		if byChart[chart] == nil {
			order = append(order, chart)
		}
		byChart[chart] = append(byChart[chart], f)
	}
	var out []diag.Diagnostic
	for _, chart := range order {
		all := byChart[chart]
		line := 1 + bytes.Count(all[0].Data[:action.FindIndex(all[0].Data)[0]], []byte("\n"))
		message := "the file is a template of a Helm chart, which is not rendered"
		if len(all) > 1 {
			message = plural.Of(len(all), "file") + " of " + chart + " are templates of a Helm chart, which are not rendered: " + names(all)
		}
		out = append(out, diag.Diagnostic{
			Code: codeTemplate, Severity: diag.Warning, Pos: diag.Pos{File: all[0].Name, Line: line, Col: 1},
			Message: message, Effect: "none: what they make is not looked at",
			Fix: "helm template " + chart + " | meshctl analyze -",
		})
	}
	return out
}

// names lists a few files by their last names.
func names(files []meshapi.File) string {
	const most = 3
	var out []string
	for _, f := range files[:min(most, len(files))] {
		out = append(out, filepath.Base(f.Name))
	}
	if len(files) > most {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}
