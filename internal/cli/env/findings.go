package env

import (
	"fmt"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
)

// SayFindings prints findings on standard error, each with its effect and fix.
func (e *Env) SayFindings(ds []diag.Diagnostic) {
	for _, d := range ds {
		e.IO.Sayf("%s", FindingText(d, e.IO.ErrPaint))
	}
}

// FindingText is a finding in istioctl's form, with its place, what it does to
// traffic and the next step.
func FindingText(d diag.Diagnostic, paint func(stdio.Style, string) string) string {
	style := map[diag.Severity]stdio.Style{diag.Error: stdio.Red, diag.Warning: stdio.Yellow, diag.Info: stdio.Blue}[d.Severity]
	text := paint(style, d.Severity.String()) + " [" + d.Code + "]"
	if where := strings.TrimSpace(d.Object.String() + " " + d.Pos.String()); where != "" {
		text += " (" + where + ")"
	}
	if d.Field != "" {
		text += " " + d.Field + ":"
	}
	text += " " + d.Message + "\n"
	if d.Effect != "" {
		text += fmt.Sprintf("    effect: %s\n", d.Effect)
	}
	if d.Fix != "" {
		text += fmt.Sprintf("    fix:    %s\n", d.Fix)
	}
	return text
}
