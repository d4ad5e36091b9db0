package stdio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"

	kubejson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/util/jsonpath"

	"github.com/meshctl/meshctl/internal/cli/exit"
)

// Names of the formats that take an expression, which every command has.
const (
	jsonPath   = "jsonpath"
	goTemplate = "go-template"
)

// executor prints what an expression finds in a document of plain values.
type executor interface {
	Execute(w io.Writer, data any) error
}

// expression takes jsonpath=… and go-template=… apart; nil for other formats.
func expression(format string) (executor, error) {
	name, text, _ := strings.Cut(format, "=")
	var parse func(string) (executor, error)
	example := ""
	switch name {
	case jsonPath:
		parse, example = parsePath, "'{.items[*].name}'"
	case goTemplate:
		parse, example = parseTemplate, `'{{range .items}}{{.name}}{{"\n"}}{{end}}'`
	default:
		return nil, nil //nolint:nilnil // there is nothing to execute
	}
	if text == "" {
		return nil, fmt.Errorf("%s needs an expression, such as -o %s=%s", name, name, example)
	}
	e, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", name, text, err)
	}
	return e, nil
}

// parsePath reads kubectl's jsonpath, braces optional as kubectl has them.
func parsePath(path string) (executor, error) {
	if !strings.Contains(path, "{") {
		path = "{" + "." + strings.TrimPrefix(path, ".") + "}"
	}
	j := jsonpath.New("output").AllowMissingKeys(true)
	if err := j.Parse(path); err != nil {
		return nil, err
	}
	return lined{j}, nil
}

// lined ends what is printed with a newline.
type lined struct{ executor }

func (l lined) Execute(w io.Writer, data any) error {
	if err := l.executor.Execute(w, data); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// parseTemplate reads a template of Go's with kubectl's functions. As with kubectl,
// nothing is put behind what it prints.
func parseTemplate(text string) (executor, error) {
	return template.New("output").Funcs(template.FuncMap{
		"exists": func(item any, path ...string) bool {
			for _, p := range path {
				m, _ := item.(map[string]any)
				next, ok := m[p]
				if !ok {
					return false
				}
				item = next
			}
			return true
		},
		"base64decode": func(s string) (string, error) {
			b, err := base64.StdEncoding.DecodeString(s)
			return string(b), err
		},
	}).Parse(text)
}

// writeExpression prints value by the format's expression.
func writeExpression(w io.Writer, format string, value any) error {
	e, err := expression(format)
	if err != nil {
		return err
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("print by an expression: %w", err)
	}
	var plain any
	// Whole numbers stay whole, as kubectl's filters expect.
	if err := kubejson.Unmarshal(b, &plain); err != nil {
		return fmt.Errorf("print by an expression: %w", err)
	}
	var out bytes.Buffer
	if err := e.Execute(&out, plain); err != nil {
		return exit.Dataf("%s finds nothing", format).Because(err)
	}
	_, err = w.Write(out.Bytes())
	return err
}
