package stdio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	kubejson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/cli/exit"
)

// Names of formats.
const (
	TableFormat = "table"
	Wide        = "wide"
	JSON        = "json"
	YAML        = "yaml"
	Name        = "name"
	jsonPath    = "jsonpath"
)

// APIVersion is that of every document that is not a resource of somebody else's.
const APIVersion = "cli.meshctl.dev/v1"

// Format is the value of an --output flag.
type Format struct {
	value   string
	allowed []string
}

// Formats makes a Format with table, json, yaml, jsonpath=… and the extra ones.
func Formats(extra ...string) Format {
	return Format{value: TableFormat, allowed: append([]string{TableFormat, JSON, YAML}, extra...)}
}

// Default chooses another default than table.
func (f Format) Default(value string) Format {
	f.value = value
	return f
}

// AddFlag adds -o.
func (f *Format) AddFlag(cmd *cobra.Command) {
	names := append(slices.Clone(f.allowed), "jsonpath=…")
	cmd.Flags().VarP(f, "output", "o", "`format`: "+strings.Join(names, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(append(slices.Clone(f.allowed), jsonPath+"="), cobra.ShellCompDirectiveNoFileComp))
}

// String implements pflag.Value.
func (f *Format) String() string { return f.value }

// Type implements pflag.Value.
func (f *Format) Type() string { return "format" }

// Set implements pflag.Value.
func (f *Format) Set(s string) error {
	name, path, _ := strings.Cut(s, "=")
	if name == jsonPath {
		if path == "" {
			return fmt.Errorf("jsonpath needs an expression, such as -o jsonpath='{.items[*].name}'")
		}
		if _, err := parsePath(path); err != nil {
			return err
		}
		f.value = s
		return nil
	}
	if !slices.Contains(f.allowed, s) {
		return fmt.Errorf("unknown format %q; known are %s and jsonpath=…", s, strings.Join(f.allowed, ", "))
	}
	f.value = s
	return nil
}

// Is reports whether the format is one of names.
func (f Format) Is(names ...string) bool { return slices.Contains(names, f.value) }

// IsStructured reports whether programs read the output.
func (f Format) IsStructured() bool {
	return f.Is(JSON, YAML) || strings.HasPrefix(f.value, jsonPath+"=")
}

// Document is what a command found, in all its forms.
type Document struct {
	// Kind of the JSON document around Items; with Value it is not used.
	Kind  string
	Items any
	// Value is the whole JSON document, in place of Kind and Items.
	Value any
	Table func() Table
	Names func() []string // for -o name
	// Empty is said on Err when the table has no rows.
	Empty string
}

// Print writes d in format f.
func (s *Streams) Print(f Format, d Document) error {
	value := d.Value
	if value == nil {
		value = map[string]any{"apiVersion": APIVersion, "kind": d.Kind, "items": d.Items}
	}
	switch {
	case f.Is(JSON):
		return writeJSON(s.Out, value)
	case f.Is(YAML):
		b, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("print as YAML: %w", err)
		}
		_, err = s.Out.Write(b)
		return err
	case f.Is(Name) && d.Names != nil:
		for _, n := range d.Names() {
			s.Printf("%s\n", n)
		}
		return nil
	case strings.HasPrefix(f.value, jsonPath+"="):
		return writePath(s.Out, strings.TrimPrefix(f.value, jsonPath+"="), value)
	}
	t := d.Table()
	if len(t.Rows) == 0 && d.Empty != "" {
		s.Sayf("%s\n", d.Empty)
		return nil
	}
	return t.write(s.Out, f.Is(Wide), s.OutColor)
}

func writeJSON(w io.Writer, value any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// parsePath reads kubectl's jsonpath, braces optional as kubectl has them.
func parsePath(path string) (*jsonpath.JSONPath, error) {
	if !strings.Contains(path, "{") {
		path = "{" + "." + strings.TrimPrefix(path, ".") + "}"
	}
	j := jsonpath.New("output").AllowMissingKeys(true)
	if err := j.Parse(path); err != nil {
		return nil, fmt.Errorf("jsonpath %q: %w", path, err)
	}
	return j, nil
}

func writePath(w io.Writer, path string, value any) error {
	j, err := parsePath(path)
	if err != nil {
		return err
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("print by jsonpath: %w", err)
	}
	var plain any
	// Whole numbers stay whole, as kubectl's filters expect.
	if err := kubejson.Unmarshal(b, &plain); err != nil {
		return fmt.Errorf("print by jsonpath: %w", err)
	}
	var out bytes.Buffer
	if err := j.Execute(&out, plain); err != nil {
		return exit.Dataf("jsonpath %s finds nothing", path).Because(err)
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}
