package analyze

import (
	"fmt"
	"io"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
)

// writeGitHub writes findings as workflow commands of GitHub Actions, which shows
// them beside the lines of a pull request.
func writeGitHub(w io.Writer, found []diag.Diagnostic) error {
	var b strings.Builder
	for _, d := range found {
		word := map[diag.Severity]string{diag.Error: "error", diag.Warning: "warning"}[d.Severity]
		if word == "" {
			word = "notice"
		}
		var parameters []string
		if d.Pos.File != "" {
			parameters = append(parameters, "file="+property(d.Pos.File))
			if d.Pos.Line > 0 {
				parameters = append(parameters, fmt.Sprintf("line=%d", d.Pos.Line))
			}
			if d.Pos.Col > 0 {
				parameters = append(parameters, fmt.Sprintf("col=%d", d.Pos.Col))
			}
		}
		parameters = append(parameters, "title="+property(strings.TrimSpace(d.Code+" "+d.Object.String())))
		text := d.Message
		if d.Severity == diag.Unknown {
			text = "unknown: " + text
		}
		if d.Effect != "" {
			text += "\neffect: " + d.Effect
		}
		if d.Fix != "" {
			text += "\nfix: " + d.Fix
		}
		fmt.Fprintf(&b, "::%s %s::%s\n", word, strings.Join(parameters, ","), data(text))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// data escapes the text of a workflow command, so that it stays one line.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

// property escapes a parameter.
func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
