// Package yamledit changes names and values in YAML text and leaves everything else
// as it is: comments, order, indentation, quoting of what is beside.
//
//	text, refused := yamledit.Apply(text, []yamledit.Change{{Line: 7, Col: 9, Key: "mirrorPercentage", Value: "{value: 50}"}})
//
// A change is of the scalar that begins at a line and column, as the decoder reports
// them: a field's name with its value, or a value alone. What cannot be changed in
// place (text over several lines, what an anchor stands for) is refused, never guessed.
package yamledit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
)

// Change is one change. Line and Col count from 1, Col in characters.
type Change struct {
	Line, Col int
	Key       string // new name of the field, unless empty
	Value     string // new value, YAML on one line, unless empty
}

// RefusedError is a change that was not made.
type RefusedError struct {
	Change
	Err error
}

// Error says which change, and why.
func (r RefusedError) Error() string { return fmt.Sprintf("line %d: %v", r.Line, r.Err) }

// replacement is a piece of text to replace, by offset.
type replacement struct {
	from, to int
	text     string
}

// Apply makes the changes that can be made and returns the text, and the others.
// The text is YAML again, with the same values elsewhere, or the change is refused.
func Apply(text []byte, changes []Change) ([]byte, []RefusedError) {
	var refused []RefusedError
	places := index(text)
	var all []replacement
	for _, c := range changes {
		found, err := places.replacements(text, c)
		if err == nil && slices.ContainsFunc(all, func(r replacement) bool {
			return slices.ContainsFunc(found, func(f replacement) bool { return f.from < r.to && r.from < f.to && f != r })
		}) {
			err = errors.New("another change is made at the same place")
		}
		if err != nil {
			refused = append(refused, RefusedError{c, err})
			continue
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b replacement) int { return cmp.Compare(a.from, b.from) })
	all = slices.Compact(all)
	var out bytes.Buffer
	at := 0
	for _, r := range all {
		out.Write(text[at:r.from])
		out.WriteString(r.text)
		at = r.to
	}
	out.Write(text[at:])
	return out.Bytes(), refused
}

// place is where a scalar begins.
type place struct{ line, col int }

// spot is what stands at a place: a name with its value, or a value alone.
type spot struct{ key, value *yaml.Node }

// spots are the scalars of a text, by place; line is the offset of each line.
type spots struct {
	at    map[place]spot
	lines []int
}

// index finds every scalar. A document that is not YAML has none: there is nothing
// to change in it.
func index(text []byte) spots {
	s := spots{at: map[place]spot{}, lines: []int{0}}
	for i, b := range text {
		if b == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	start := 0
	for i := 1; i <= len(s.lines); i++ {
		if i < len(s.lines) && !isBoundary(text[s.lines[i]:]) {
			continue
		}
		end := len(text)
		if i < len(s.lines) {
			end = s.lines[i]
		}
		var doc yaml.Node
		chunk := text[s.lines[start]:end]
		if yaml.Unmarshal(chunk, &doc) == nil {
			s.add(&doc, start)
		}
		start = i
	}
	return s
}

// isBoundary reports whether a line begins a document.
func isBoundary(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || rest[0] == '\n' || rest[0] == '\r' || rest[0] == ' ' || rest[0] == '\t')
}

func (s spots) add(n *yaml.Node, before int) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if k.Kind == yaml.ScalarNode {
				s.at[place{k.Line + before, k.Column}] = spot{k, v}
			}
			s.add(v, before)
		}
	case yaml.ScalarNode:
		if _, taken := s.at[place{n.Line + before, n.Column}]; !taken {
			s.at[place{n.Line + before, n.Column}] = spot{nil, n}
		}
	default: // documents and lists; what an alias stands for is found where it is written
		for _, c := range n.Content {
			s.add(c, before)
		}
	}
}

// replacements turns a change into what to replace.
func (s spots) replacements(text []byte, c Change) ([]replacement, error) {
	at, ok := s.at[place{c.Line, c.Col}]
	if !ok {
		return nil, errors.New("no field or value begins there")
	}
	if strings.ContainsAny(c.Key+c.Value, "\n\r") {
		return nil, errors.New("the new text has several lines")
	}
	var out []replacement
	if c.Key != "" {
		if at.key == nil {
			return nil, errors.New("there is a value, not a field")
		}
		r, err := s.scalar(text, at.key, c.Line)
		if err != nil {
			return nil, err
		}
		r.text = c.Key
		out = append(out, r)
	}
	if c.Value != "" {
		before := c.Line - cmp.Or(at.key, at.value).Line
		r, err := s.scalar(text, at.value, at.value.Line+before)
		if err != nil {
			return nil, err
		}
		r.text = c.Value
		out = append(out, r)
	}
	return out, nil
}

// scalar finds the text of a scalar on one line, quotes included.
func (s spots) scalar(text []byte, n *yaml.Node, line int) (replacement, error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return replacement{}, errors.New("the value is a list or an object")
	case n.Anchor != "" || n.Style&yaml.TaggedStyle != 0:
		return replacement{}, errors.New("the value has an anchor or a tag")
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return replacement{}, errors.New("the value is a block of text")
	case line < 1 || line > len(s.lines):
		return replacement{}, errors.New("the line is not there")
	}
	from := s.lines[line-1]
	end := len(text)
	if line < len(s.lines) {
		end = s.lines[line] - 1
	}
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(text[from:end])
		if size == 0 {
			return replacement{}, errors.New("the column is not there")
		}
		from += size
	}
	length, ok := scalarLength(text[from:end], n)
	if !ok {
		return replacement{}, errors.New("the value is written over several lines, or in a form that is not changed here")
	}
	return replacement{from: from, to: from + length}, nil
}

// scalarLength is how long a scalar is as it is written.
func scalarLength(rest []byte, n *yaml.Node) (int, bool) {
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
		return len(n.Value), n.Value != "" && bytes.HasPrefix(rest, []byte(n.Value))
	}
	if len(rest) == 0 {
		return 0, false
	}
	quote := rest[0]
	if quote != '"' && quote != '\'' {
		return 0, false
	}
	for i := 1; i < len(rest); i++ {
		switch {
		case quote == '"' && rest[i] == '\\':
			i++
		case rest[i] == quote && quote == '\'' && i+1 < len(rest) && rest[i+1] == quote:
			i++
		case rest[i] == quote:
			return i + 1, true
		}
	}
	return 0, false
}
