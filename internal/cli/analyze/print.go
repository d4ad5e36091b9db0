package analyze

import (
	"fmt"
	"path"
	"strings"

	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
)

// message is a finding in JSON: istioctl's fields, and ours.
type message struct {
	Code      string `json:"code"`
	Level     string `json:"level"`
	Origin    string `json:"origin,omitempty"`
	Reference string `json:"reference,omitempty"` // file:line:col
	Message   string `json:"message"`
	Field     string `json:"field,omitempty"`
	Effect    string `json:"effect,omitempty"`
	Fix       string `json:"fix,omitempty"`
}

// origin is istioctl's form: Kind name.namespace.
func origin(o diag.Object) string {
	switch {
	case o.Name == "":
		return o.Kind
	case o.Namespace == "":
		return o.Kind + " " + o.Name
	default:
		return o.Kind + " " + o.Name + "." + o.Namespace
	}
}

func (o *Options) print(found []diag.Diagnostic) error {
	messages := []message{}
	for _, d := range found {
		messages = append(messages, message{
			Code: d.Code, Level: d.Severity.String(), Origin: origin(d.Object), Reference: d.Pos.String(),
			Message: d.Message, Field: d.Field, Effect: d.Effect, Fix: d.Fix,
		})
	}
	if !o.Format.Is("log") {
		return o.Env.IO.Print(o.Format, stdio.Document{
			Value: messages, Empty: "no findings",
			Table: func() stdio.Table {
				t := stdio.Table{Columns: []string{"LEVEL", "CODE", "OBJECT", "PLACE", "MESSAGE"}}
				for _, m := range messages {
					t.Add(m.Level, m.Code, m.Origin, m.Reference, m.Message)
				}
				return t
			},
		})
	}
	io := o.Env.IO
	o.Env.PrintFindings(found)
	io.Sayf("%s\n", summary(found, io.ErrPaint))
	return nil
}

// summary counts findings by level.
func summary(found []diag.Diagnostic, paint func(stdio.Style, string) string) string {
	if len(found) == 0 {
		return paint(stdio.Green, "✓") + " nothing is wrong"
	}
	counts := map[diag.Severity]int{}
	for _, d := range found {
		counts[d.Severity]++
	}
	var parts []string
	for _, s := range []struct {
		severity diag.Severity
		word     string
	}{{diag.Error, "error"}, {diag.Warning, "warning"}, {diag.Info, "note"}, {diag.Unknown, "question"}} {
		if n := counts[s.severity]; n > 0 {
			parts = append(parts, plural(n, s.word))
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// list prints the analyzers.
func (o *Options) list() error {
	type row struct {
		Name  string   `json:"name"`
		About string   `json:"about"`
		Codes []string `json:"codes"`
	}
	var rows []row
	for _, a := range checks.Analyzers() {
		rows = append(rows, row{a.Name, a.About, a.Codes})
	}
	f := o.Format
	return o.Env.IO.Print(f, stdio.Document{Kind: "AnalyzerList", Items: rows, Table: func() stdio.Table {
		t := stdio.Table{Columns: []string{"NAME", "CHECKS THAT"}}
		for _, r := range rows {
			t.Add(r.Name, r.About)
		}
		return t
	}})
}

// suppression leaves findings out: CODE=Kind name.namespace, each part a glob.
type suppression struct{ code, origin string }

func parseSuppression(s string) (suppression, error) {
	code, pattern, ok := strings.Cut(s, "=")
	if !ok || code == "" || pattern == "" {
		return suppression{}, exit.Usagef("--suppress %q is not CODE=Kind name.namespace", s).Try(`meshctl analyze -S "IST0101=VirtualService *.default" …`)
	}
	for _, p := range []string{code, pattern} {
		if _, err := path.Match(p, ""); err != nil {
			return suppression{}, exit.Usagef("--suppress %q is no pattern", p).Because(err)
		}
	}
	return suppression{code, pattern}, nil
}

func (s suppression) covers(d diag.Diagnostic) bool {
	code, _ := path.Match(s.code, d.Code)               // checked when it was read
	object, _ := path.Match(s.origin, origin(d.Object)) // as above
	return code && object
}
