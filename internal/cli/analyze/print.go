package analyze

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/docs/diagnostics"
	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/plural"
)

// message is a finding in JSON: istioctl's fields, and ours.
type message struct {
	Code          string `json:"code"`
	Level         string `json:"level"`
	Origin        string `json:"origin,omitempty"` // Kind namespace/name
	Message       string `json:"message"`
	Reference     string `json:"reference,omitempty"` // file:line
	Documentation string `json:"documentationUrl,omitempty"`

	File   string    `json:"file,omitempty"`
	Line   int       `json:"line,omitempty"`
	Column int       `json:"column,omitempty"`
	Field  string    `json:"field,omitempty"`
	Effect string    `json:"effect,omitempty"`
	Fix    string    `json:"fix,omitempty"`
	Edit   diag.Edit `json:"edit,omitzero"`
}

func messageOf(d diag.Diagnostic) message {
	m := message{
		Code: d.Code, Level: d.Severity.String(), Origin: d.Object.String(), Message: d.Message,
		File: d.Pos.File, Line: d.Pos.Line, Column: d.Pos.Col, Field: d.Field, Effect: d.Effect, Fix: d.Fix, Edit: d.Edit,
		Reference: diag.Pos{File: d.Pos.File, Line: d.Pos.Line}.String(),
	}
	if _, ok := diagnostics.Lookup(d.Code); ok {
		m.Documentation = diagnostics.URL(d.Code)
	}
	return m
}

// print writes findings in the format that was asked for.
func (o *Options) print(found []diag.Diagnostic, in *gathered) error {
	io := o.Env.IO
	if !o.Format.IsStructured() {
		for _, n := range in.notes() {
			io.Sayf("%s\n", n)
		}
	}
	switch {
	case o.Format.Is(formatSARIF):
		return writeSARIF(io.Out, found)
	case o.Format.Is(formatJUnit):
		return writeJUnit(io.Out, found, o.Failure)
	case o.Format.Is(formatGitHub):
		return writeGitHub(io.Out, found)
	case o.Format.Is(formatLog):
		o.Env.PrintFindings(found)
		if len(found) == 0 {
			io.Sayf("%s No validation issues found when analyzing %s.\n", io.ErrPaint(stdio.Green, "✔"), o.analyzed())
		} else {
			io.Sayf("%s\n", summary(found))
		}
		return nil
	}
	messages := []message{}
	for _, d := range found {
		messages = append(messages, messageOf(d))
	}
	return io.Print(o.Format, stdio.Document{
		Value: messages, Empty: "no findings",
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"LEVEL", "CODE", "OBJECT", "PLACE", "MESSAGE"}}
			for _, d := range found {
				t.Add(d.Severity.String(), d.Code, d.Object.String(), d.Pos.String(), d.Message)
			}
			return t
		},
	})
}

// analyzed says what was looked at, in istioctl's words, which scripts look for.
func (o *Options) analyzed() string {
	switch {
	case len(o.Paths) > 0:
		return strings.Join(o.Paths, ", ")
	case o.All || o.Env.Settings.Namespace == "":
		return "all namespaces"
	default:
		return "namespace: " + o.Env.Namespace()
	}
}

// summary counts findings by level.
func summary(found []diag.Diagnostic) string {
	counts := map[diag.Severity]int{}
	for _, d := range found {
		counts[d.Severity]++
	}
	var parts []string
	for _, s := range []struct {
		severity diag.Severity
		word     string
	}{{diag.Error, "error"}, {diag.Warning, "warning"}, {diag.Info, "note"}} {
		if n := counts[s.severity]; n > 0 {
			parts = append(parts, plural.Of(n, s.word))
		}
	}
	if n := counts[diag.Unknown]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d unknown", n))
	}
	return strings.Join(parts, ", ")
}

func itoa(n int) string { return strconv.Itoa(n) }

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
	return o.Env.IO.Print(o.Format, stdio.Document{Kind: "AnalyzerList", Items: rows, Table: func() stdio.Table {
		t := stdio.Table{Columns: []string{"NAME", "CHECKS THAT"}}
		for _, r := range rows {
			t.Add(r.Name, r.About)
		}
		return t
	}})
}
