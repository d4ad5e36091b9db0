package inspection

import (
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/compare"
)

// Limits of what is printed of one change, unless all is wanted.
const (
	maxFields = 12
	maxValue  = 100
)

var (
	verbMarks  = map[compare.Verb]string{compare.Added: "+", compare.Removed: "-", compare.Changed: "~"}
	verbStyles = map[compare.Verb]stdio.Style{compare.Added: stdio.Green, compare.Removed: stdio.Red, compare.Changed: stdio.Yellow}
)

// Changes says how much is printed of changes.
type Changes struct {
	Indent  string
	Summary bool // no fields
	All     bool // every field, at its whole length
}

// Print shows changes to people, each with the fields that differ.
func (c Changes) Print(io *stdio.Streams, changes []compare.Change) {
	for _, x := range changes {
		io.Printf("%s%s\n", c.Indent, io.OutPaint(verbStyles[x.Verb], verbMarks[x.Verb]+" "+x.Type+" "+x.Name))
		if !c.Summary {
			c.fields(io, x.Fields)
		}
	}
}

func (c Changes) fields(io *stdio.Streams, fields []compare.Field) {
	for i, f := range fields {
		if i == maxFields && !c.All {
			io.Printf("%s    … and %d more fields (--all)\n", c.Indent, len(fields)-i)
			return
		}
		io.Printf("%s    %s\n", c.Indent, f.Path)
		if f.Old != "" {
			io.Printf("%s      %s\n", c.Indent, io.OutPaint(stdio.Red, "- "+c.shorten(f.Old)))
		}
		if f.New != "" {
			io.Printf("%s      %s\n", c.Indent, io.OutPaint(stdio.Green, "+ "+c.shorten(f.New)))
		}
	}
}

func (c Changes) shorten(s string) string {
	if r := []rune(s); len(r) > maxValue && !c.All {
		return string(r[:maxValue-1]) + "…"
	}
	return s
}
