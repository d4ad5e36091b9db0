// Package diag holds the one type for every finding about what a user wrote:
// decoding errors, validation findings, set-aside resources, analysis messages.
// A Diagnostic says what is wrong, where, what it does to traffic and the next
// step to take. The package imports only the standard library.
package diag

import (
	"cmp"
	"fmt"
	"strings"
)

// Severity orders findings; the zero value is Info.
type Severity int

// Severities, from least to most severe. Unknown is a question that what was given
// cannot answer: it is never a reason to fail.
const (
	Unknown Severity = iota - 1
	Info
	Warning
	Error
)

// String returns the word istioctl prints for the severity.
func (s Severity) String() string {
	switch s {
	case Error:
		return "Error"
	case Warning:
		return "Warning"
	case Unknown:
		return "Unknown"
	default:
		return "Info"
	}
}

// Pos is a place in a file. Line and Col count from 1; zero means unknown.
type Pos struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// IsZero reports whether nothing is known of the place.
func (p Pos) IsZero() bool { return p == Pos{} }

// String prints file:line:col, leaving out what is unknown.
func (p Pos) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Col > 0 {
			fmt.Fprintf(&b, ":%d", p.Col)
		}
	}
	return b.String()
}

// Compare orders positions by file, line and column.
func (p Pos) Compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Col, q.Col))
}

// Object names the resource a finding is about; all fields may be empty.
type Object struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// String prints "Kind namespace/name", or "Kind name" without a namespace.
func (o Object) String() string {
	switch {
	case o.Name == "":
		return o.Kind
	case o.Namespace == "":
		return o.Kind + " " + o.Name
	default:
		return o.Kind + " " + o.Namespace + "/" + o.Name
	}
}

// Diagnostic is one finding.
type Diagnostic struct { //nolint:errname // the glossary's word
	Code     string   `json:"code"` // stable, e.g. MSH0101 or IST0101
	Severity Severity `json:"severity"`
	Object   Object   `json:"object"`
	Pos      Pos      `json:"pos"`
	Field    string   `json:"field,omitempty"`  // path in the object, e.g. spec.http[0].route[1].weight
	Message  string   `json:"message"`          // what is wrong
	Effect   string   `json:"effect,omitempty"` // what it does to traffic
	Fix      string   `json:"fix,omitempty"`    // the next step
	// Edit does what Fix says, where only one thing can have been meant.
	Edit Edit `json:"edit,omitzero"`
}

// Edit changes the member of the object at the place of its Diagnostic, as it was
// written. The zero Edit changes nothing.
type Edit struct {
	Path  string `json:"path,omitempty"`  // of the member, in the form of Diagnostic.Field
	Key   string `json:"key,omitempty"`   // its new name, unless empty
	Value string `json:"value,omitempty"` // its new value as YAML on one line, unless empty
}

// Error makes a Diagnostic usable as an error: one line with position, object and message.
func (d Diagnostic) Error() string {
	var b strings.Builder
	if !d.Pos.IsZero() {
		b.WriteString(d.Pos.String() + ": ")
	}
	if o := d.Object.String(); o != "" {
		b.WriteString(o + ": ")
	}
	if d.Field != "" {
		b.WriteString(d.Field + ": ")
	}
	b.WriteString(d.Message)
	return b.String()
}

// Compare orders findings for printing: most severe first, then by place, object and code.
func Compare(a, b Diagnostic) int {
	return cmp.Or(
		cmp.Compare(b.Severity, a.Severity),
		a.Pos.Compare(b.Pos),
		cmp.Compare(a.Object.String(), b.Object.String()),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.Message, b.Message),
	)
}

// Worst returns the highest severity among ds, and false when ds is empty.
func Worst(ds []Diagnostic) (Severity, bool) {
	worst, any := Info, false
	for _, d := range ds {
		worst, any = max(worst, d.Severity), true
	}
	return worst, any
}
