package stdio

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is rows under column names. The columns are aligned the same way on
// terminals and in pipes, as kubectl does, so that awk works on both.
type Table struct {
	Columns []string
	Rows    [][]string
	// Wide columns, by index, are printed with -o wide only.
	Wide map[int]bool
	// NoHeaders leaves the column names out.
	NoHeaders bool
	// Indent is how many blanks begin each line.
	Indent int
	// notes follow the row of their index.
	notes map[int]string
	// Style, if set, gives a cell's style on terminals.
	Style func(row, column int, text string) Style
}

// gap is between columns; kubectl's.
const gap = 3

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Note adds a line below the last row, for what no column has room for.
func (t *Table) Note(text string) {
	if t.notes == nil {
		t.notes = map[int]string{}
	}
	t.notes[len(t.Rows)-1] = text
}

// write prints the table. The last column is not padded.
func (t *Table) write(w io.Writer, wide, color bool) error {
	shown := make([]int, 0, len(t.Columns))
	for i := range t.Columns {
		if wide || !t.Wide[i] {
			shown = append(shown, i)
		}
	}
	widths := make([]int, len(t.Columns))
	for _, i := range shown {
		if !t.NoHeaders {
			widths[i] = textWidth(t.Columns[i])
		}
		for _, r := range t.Rows {
			widths[i] = max(widths[i], textWidth(cell(r, i)))
		}
	}
	var b strings.Builder
	indent := strings.Repeat(" ", t.Indent)
	line := func(row int, cells []string) {
		b.WriteString(indent)
		last := len(shown) - 1
		for t.Indent > 0 && last > 0 && cell(cells, shown[last]) == "" {
			last-- // a table inside a text: nobody counts its columns
		}
		for n, i := range shown[:last+1] {
			text := cell(cells, i)
			style := Plain
			switch {
			case row < 0:
				style = Bold
			case t.Style != nil:
				style = t.Style(row, i, text)
			}
			b.WriteString(Paint(color, style, text))
			if n < last {
				b.WriteString(strings.Repeat(" ", widths[i]-textWidth(text)+gap))
			}
		}
		b.WriteByte('\n')
	}
	if !t.NoHeaders {
		line(-1, t.Columns)
	}
	for n, r := range t.Rows {
		line(n, r)
		if note, ok := t.notes[n]; ok {
			b.WriteString(indent + "    " + Paint(color, Yellow, note) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeCSV prints all columns, wide ones too; notes have a column of their own.
func (t *Table) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	put := func(cells []string, note string) {
		row := make([]string, len(t.Columns), len(t.Columns)+1)
		for i := range row {
			row[i] = cell(cells, i)
		}
		if len(t.notes) > 0 {
			row = append(row, note)
		}
		_ = c.Write(row) // Error below tells
	}
	if !t.NoHeaders {
		put(t.Columns, "NOTE")
	}
	for i, r := range t.Rows {
		put(r, t.notes[i])
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("print as CSV: %w", err)
	}
	return nil
}

func cell(row []string, i int) string {
	if i >= len(row) {
		return ""
	}
	return row[i]
}

// textWidth counts runes: what is printed here has no double-width text.
func textWidth(s string) int { return utf8.RuneCountInString(s) }
