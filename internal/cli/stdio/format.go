package stdio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// Names of formats.
const (
	TableFormat = "table"
	Wide        = "wide"
	JSON        = "json"
	YAML        = "yaml"
	Name        = "name"
	CSV         = "csv" // all columns of the table, wide ones too
)

// APIVersion is that of every document that is not a resource of somebody else's.
const APIVersion = "cli.meshctl.dev/v1"

// Format is the value of an --output flag.
type Format struct {
	value   string
	allowed []string
}

// Formats makes a Format with table, json, yaml, jsonpath=…, go-template=… and the
// extra ones: CSV for commands that print one table.
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
	names := append(slices.Clone(f.allowed), jsonPath+"=…", goTemplate+"=…")
	cmd.Flags().VarP(f, "output", "o", "`format`: "+strings.Join(names, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(append(slices.Clone(f.allowed), jsonPath+"=", goTemplate+"="), cobra.ShellCompDirectiveNoFileComp))
}

// String implements pflag.Value.
func (f *Format) String() string { return f.value }

// Type implements pflag.Value.
func (f *Format) Type() string { return "format" }

// Set implements pflag.Value.
func (f *Format) Set(s string) error {
	e, err := expression(s)
	switch {
	case err != nil:
		return err
	case e == nil && !slices.Contains(f.allowed, s):
		return fmt.Errorf("unknown format %q; known are %s, %s=… and %s=…", s, strings.Join(f.allowed, ", "), jsonPath, goTemplate)
	}
	f.value = s
	return nil
}

// Is reports whether the format is one of names.
func (f Format) Is(names ...string) bool { return slices.Contains(names, f.value) }

// IsStructured reports whether programs read the output.
func (f Format) IsStructured() bool {
	return f.Is(JSON, YAML) || f.hasExpression()
}

func (f Format) hasExpression() bool {
	return strings.HasPrefix(f.value, jsonPath+"=") || strings.HasPrefix(f.value, goTemplate+"=")
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
	case f.hasExpression():
		return writeExpression(s.Out, f.value, value)
	}
	t := d.Table()
	if f.Is(CSV) {
		return t.writeCSV(s.Out)
	}
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
