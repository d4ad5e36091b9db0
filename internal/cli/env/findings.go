package env

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
)

// SayFindings prints findings on standard error, each with its effect and fix.
func (e *Env) SayFindings(ds []diag.Diagnostic) {
	width := 0
	if e.IO.ErrTTY {
		width = e.IO.Width()
	}
	for _, d := range ds {
		e.IO.Sayf("%s", findingText(d, e.IO.ErrPaint, width))
	}
}

// Wrong is what is wrong with a mesh's configuration at the moment: errors and
// warnings of the control plane, as far as it answers.
func (m *Mesh) Wrong(ctx context.Context) []diag.Diagnostic {
	ds, err := m.API.Diagnostics(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(ds, func(d diag.Diagnostic) bool { return d.Severity == diag.Info })
}

// PrintFindings prints findings as data.
func (e *Env) PrintFindings(ds []diag.Diagnostic) {
	width := 0
	if e.IO.OutTTY {
		width = e.IO.Width()
	}
	for _, d := range ds {
		e.IO.Printf("%s", findingText(d, e.IO.OutPaint, width))
	}
}

// findingText is a finding in istioctl's form, with its place, what it does to
// traffic and the next step. In pipes (width 0) each part is one line.
func findingText(d diag.Diagnostic, paint func(stdio.Style, string) string, width int) string {
	severity := d.Severity.String()
	text := severity + " [" + d.Code + "]"
	if where := strings.TrimSpace(d.Object.String() + " " + d.Pos.String()); where != "" {
		text += " (" + where + ")"
	}
	if d.Field != "" {
		text += " " + d.Field + ":"
	}
	text = wrap(text+" "+d.Message, "    ", width)
	style := map[diag.Severity]stdio.Style{diag.Error: stdio.Red, diag.Warning: stdio.Yellow, diag.Info: stdio.Blue}[d.Severity]
	text = paint(style, severity) + strings.TrimPrefix(text, severity) + "\n"
	if d.Effect != "" {
		text += wrap("    effect: "+d.Effect, "            ", width) + "\n"
	}
	if d.Fix != "" {
		text += wrap("    fix:    "+d.Fix, "            ", width) + "\n"
	}
	return text
}

// wrap breaks text between words so that lines fit, and indents all but the first.
func wrap(text, indent string, width int) string {
	if width <= len(indent)+20 {
		return text
	}
	var b strings.Builder
	line := "" // not yet written
	for word := range strings.SplitAfterSeq(text, " ") {
		fits := utf8.RuneCountInString(line+strings.TrimRight(word, " ")) <= width
		if !fits && len(line) > len(indent) {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word
	}
	return b.String() + line
}

// Alike joins notes that say the same of several objects.
func Alike(ds []diag.Diagnostic) []diag.Diagnostic {
	var out []diag.Diagnostic
	first := map[[3]string]int{}
	more := map[int]int{}
	for _, d := range ds {
		key := [3]string{d.Code, d.Field, d.Message}
		if i, ok := first[key]; ok && d.Severity == diag.Info {
			more[i]++
			continue
		}
		first[key] = len(out)
		out = append(out, d)
	}
	for i, n := range more {
		out[i].Message += fmt.Sprintf(" (and so for %d more)", n)
	}
	return out
}
