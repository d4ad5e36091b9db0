package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
)

// Format is a way to print objects.
type Format string

// Formats of Encode.
const (
	YAML Format = "yaml"
	JSON Format = "json"
)

// Encode prints one object as the user wrote it: as a YAML document that ends
// with a line feed, or as indented JSON. Decode of the result gives an object of
// equal content.
func Encode(o *Object, format Format) ([]byte, error) {
	switch format {
	case JSON:
		var b bytes.Buffer
		if err := json.Indent(&b, o.Raw, "", "    "); err != nil {
			return nil, fmt.Errorf("print %s: %w", o.Key, err)
		}
		b.WriteByte('\n')
		return b.Bytes(), nil
	case YAML:
		var doc yaml.Node
		if err := yaml.Load(o.Raw, &doc); err != nil {
			return nil, fmt.Errorf("print %s: %w", o.Key, err)
		}
		restyle(&doc, true)
		out, err := yaml.Dump(&doc, yaml.WithIndent(2), yaml.WithLineWidth(-1), yaml.WithCompactSeqIndent())
		if err != nil {
			return nil, fmt.Errorf("print %s: %w", o.Key, err)
		}
		return escapeUnsafe(out), nil
	}
	return nil, fmt.Errorf("print %s: unknown format %q: known are yaml and json", o.Key, string(format))
}

// EncodeAll prints objects as several YAML documents, or as one JSON List.
func EncodeAll(objects []*Object, format Format) ([]byte, error) {
	if format == JSON {
		list := bytes.NewBufferString(`{"apiVersion":"v1","kind":"List","items":[`)
		for i, o := range objects {
			if i > 0 {
				list.WriteByte(',')
			}
			list.Write(o.Raw)
		}
		list.WriteString("]}")
		var b bytes.Buffer
		if err := json.Indent(&b, list.Bytes(), "", "    "); err != nil {
			return nil, fmt.Errorf("print a list of %d objects: %w", len(objects), err)
		}
		b.WriteByte('\n')
		return b.Bytes(), nil
	}
	var b bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := Encode(o, format)
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	return b.Bytes(), nil
}

// restyle turns JSON's style into the one people write: block collections, text
// quoted only where YAML would read it as something else, long text as a block.
func restyle(n *yaml.Node, top bool) {
	n.Style = 0
	if n.Kind == yaml.MappingNode && top {
		headFirst(n)
	}
	for _, c := range n.Content {
		restyle(c, n.Kind == yaml.DocumentNode)
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		switch {
		case mustQuote(n.Value): // only quoted text can hold escapes
			n.Style = yaml.DoubleQuotedStyle
		case strings.Contains(n.Value, "\n"):
			n.Style = yaml.LiteralStyle
		case isLooseBool(n.Value):
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	if (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
}

// escapeUnsafe escapes what the YAML writer leaves as it is; restyle has put it
// into double quotes.
func escapeUnsafe(text []byte) []byte {
	if !bytes.ContainsFunc(text, isUnsafe) {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for _, r := range string(text) {
		if isUnsafe(r) {
			out = appendEscape(out, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// headFirst puts apiVersion, kind and metadata in front, as everyone writes them.
func headFirst(n *yaml.Node) {
	rank := map[string]int{"apiVersion": -3, "kind": -2, "metadata": -1}
	pairs := slices.Collect(slices.Chunk(n.Content, 2))
	slices.SortStableFunc(pairs, func(a, b []*yaml.Node) int { return rank[a[0].Value] - rank[b[0].Value] })
	n.Content = slices.Concat(pairs...)
}
