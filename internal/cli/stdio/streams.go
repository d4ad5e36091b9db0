// Package stdio is how commands talk: streams that know whether they are a
// terminal, colour, and one printer for every output format. Data goes to Out,
// everything else to Err.
//
//	out := stdio.Formats(stdio.Wide, stdio.Name)
//	out.AddFlag(cmd)
//	return io.Print(out, stdio.Document{Kind: "PodList", Items: pods, Table: table})
package stdio

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are the three of a process. Make them with System or, in tests, by hand.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	OutColor, ErrColor bool // may Out and Err be coloured
	OutTTY, ErrTTY     bool
	width              int
}

// System makes the streams of this process. Colour is used on terminals only,
// and not with NO_COLOR (no-color.org) or TERM=dumb.
func System(getenv func(string) string) *Streams {
	color := getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	outTTY, errTTY := term.IsTerminal(int(os.Stdout.Fd())), term.IsTerminal(int(os.Stderr.Fd()))
	s := &Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, OutTTY: outTTY, ErrTTY: errTTY,
		OutColor: color && outTTY, ErrColor: color && errTTY,
	}
	if outTTY {
		if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
			s.width = w
		}
	}
	return s
}

// Width is the terminal's, 80 when there is none.
func (s *Streams) Width() int {
	if s.width <= 0 {
		return 80
	}
	return s.width
}

// Printf writes data.
func (s *Streams) Printf(format string, args ...any) { fmt.Fprintf(s.Out, format, args...) }

// Sayf writes talk: progress, hints, notes.
func (s *Streams) Sayf(format string, args ...any) { fmt.Fprintf(s.Err, format, args...) }

// Style is a way to set text off; it never carries meaning alone.
type Style string

// Styles, as ECMA-48 select graphic rendition parameters.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
)

// Paint puts a style around text when on.
func Paint(on bool, style Style, text string) string {
	if !on || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// OutPaint paints for Out.
func (s *Streams) OutPaint(style Style, text string) string { return Paint(s.OutColor, style, text) }

// ErrPaint paints for Err.
func (s *Streams) ErrPaint(style Style, text string) string { return Paint(s.ErrColor, style, text) }
