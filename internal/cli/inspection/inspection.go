// Package inspection is what commands that describe things share: the world with
// its findings, and how a description is printed.
package inspection

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Load derives the world of a command and finds what is wrong in it.
func Load(ctx context.Context, e *env.Env, f env.WorldFlags) (*whatif.World, []diag.Diagnostic, error) {
	w, err := e.World(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	findings, err := analyze.Run(ctx, analyze.Input{Objects: w.Given(), Complete: w.Running(), Now: e.Now()})
	if err != nil {
		return nil, nil, err
	}
	return w, findings, nil
}

// Print shows a description to people.
func Print(e *env.Env, d *inspect.Description) error {
	p := printer{e.IO, d}
	title := d.Kind + " " + d.Name
	if d.Namespace != "" {
		title += "." + d.Namespace
	}
	p.io.Printf("%s", p.io.OutPaint(stdio.Bold, title))
	if d.At != "" {
		p.io.Printf("  %s", p.io.OutPaint(stdio.Dim, d.At))
	}
	p.io.Printf("\n")
	p.facts(d.Facts)
	for _, s := range d.Sections {
		if err := p.section(s); err != nil {
			return err
		}
	}
	if len(d.Findings) > 0 {
		p.io.Printf("\n%s\n", p.io.OutPaint(stdio.Bold, "Findings"))
		e.PrintFindings(d.Findings)
	}
	return nil
}

type printer struct {
	io *stdio.Streams
	of *inspect.Description
}

func (p printer) facts(facts []inspect.Fact) {
	names, values := 0, 0
	for _, f := range facts {
		names = max(names, utf8.RuneCountInString(f.Name))
		if f.Decided != nil {
			values = max(values, utf8.RuneCountInString(f.Value))
		}
	}
	for i, f := range facts {
		label := f.Name
		if i > 0 && facts[i-1].Name == f.Name {
			label = ""
		}
		value := f.Value
		if f.Decided != nil {
			value += strings.Repeat(" ", max(values-utf8.RuneCountInString(value), 0)+3)
		}
		if f.Bad {
			value = p.io.OutPaint(stdio.Red, value)
		}
		p.io.Printf("  %s%s  %s%s\n", label, strings.Repeat(" ", names-utf8.RuneCountInString(label)), value, p.io.OutPaint(stdio.Dim, p.decided(f.Decided)))
	}
}

// section prints a list under its title; columns that are empty are left out, and
// notes follow their row.
func (p printer) section(s inspect.Section) error {
	p.io.Printf("\n%s\n", p.io.OutPaint(stdio.Bold, s.Title))
	var shown []int
	for i := range s.Columns {
		for _, r := range s.Rows {
			if i < len(r.Cells) && r.Cells[i] != "" {
				shown = append(shown, i)
				break
			}
		}
	}
	t := stdio.Table{Indent: 2}
	for _, i := range shown {
		t.Columns = append(t.Columns, s.Columns[i])
	}
	decided := false
	for _, r := range s.Rows {
		decided = decided || r.Decided != nil
	}
	if decided {
		t.Columns = append(t.Columns, "DECIDED BY")
	}
	for _, r := range s.Rows {
		cells := make([][]string, 0, len(shown)+1)
		lines := 1
		for _, i := range shown {
			cell := "-"
			if i < len(r.Cells) && r.Cells[i] != "" {
				cell = r.Cells[i]
			}
			alternatives := strings.Split(cell, inspect.Or)
			lines = max(lines, len(alternatives))
			cells = append(cells, alternatives)
		}
		if decided {
			at := p.decided(r.Decided)
			if at == "" {
				at = "-"
			}
			cells = append(cells, []string{at})
		}
		for n := range lines { // alternatives are below each other
			line := make([]string, len(cells))
			for i, c := range cells {
				if n < len(c) {
					line[i] = c[n]
				}
			}
			t.Add(line...)
		}
		if r.Note != "" {
			t.Note("! " + r.Note)
		}
	}
	t.Style = func(_, column int, _ string) stdio.Style {
		if decided && column == len(t.Columns)-1 {
			return stdio.Dim
		}
		return stdio.Plain
	}
	return p.io.Print(stdio.Formats(), stdio.Document{Table: func() stdio.Table { return t }})
}

// decided names a line: the object only where it is another one than is described,
// and its namespace where that is another one.
func (p printer) decided(d *whatif.Decision) string {
	if d == nil {
		return ""
	}
	short := *d
	if short.Namespace == p.of.Namespace {
		if short.Namespace = ""; short.Kind == p.of.Kind && short.Name == p.of.Name && short.Field != "" {
			if short.At == "" {
				return short.Field
			}
			return short.Field + " (" + short.At + ")"
		}
	}
	return short.String()
}

// NotFound says that an object does not exist, and which ones do.
func NotFound(kind, name, namespace string, have []string) error {
	err := exit.Failuref("there is no %s %q in namespace %s", kind, name, namespace)
	if len(have) > 0 {
		if len(have) > 8 {
			have = append(have[:8:8], "…")
		}
		return err.Because(errors.New("there are " + strings.Join(have, ", "))).Try("name one of them, or NAME.NAMESPACE")
	}
	return err.Try("meshctl get %s -A", strings.ToLower(kind))
}
