package image

import (
	"fmt"
	"path"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"github.com/meshctl/meshctl/internal/diag"
)

// FileName is the name of the mapping file in a folder of manifests.
const FileName = "meshctl-local.yaml"

// Codes of findings.
const (
	CodeFile    = "MSH0811" // the mapping file is wrong
	CodeUnknown = "MSH0812" // nothing says which program stands for an image
	CodeProgram = "MSH0813" // the program cannot be run
)

// maxFile bounds the mapping file.
const maxFile = 1 << 20

// File is a mapping file.
type File struct {
	Rules []Rule
	// Resources are the files to load, relative to the folder; empty: all.
	Resources []string
}

// Rule maps images to a program; exactly one of Program, Self, Build and Command is
// set.
type Rule struct {
	Glob    string // as path.Match, but * also matches /
	Program string // a command line
	Self    string // run our own executable under this name
	Build   string // folder of a Go main package
	Command bool   // the container's own command, found on this machine
	Pos     diag.Pos
}

// Parse reads a mapping file. What is wrong is reported with its place, and the
// rest is used.
func Parse(name string, data []byte) (*File, []diag.Diagnostic) {
	p := parser{name: name, file: &File{}}
	if len(data) > maxFile {
		p.fail(nil, fmt.Sprintf("the file has %d bytes; the limit is %d", len(data), maxFile))
		return p.file, p.ds
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		p.fail(nil, strings.TrimPrefix(err.Error(), "yaml: "))
		return p.file, p.ds
	}
	if len(doc.Content) == 0 {
		return p.file, nil
	}
	p.top(doc.Content[0])
	return p.file, p.ds
}

type parser struct {
	name string
	file *File
	ds   []diag.Diagnostic
}

func (p *parser) pos(n *yaml.Node) diag.Pos {
	if n == nil {
		return diag.Pos{File: p.name}
	}
	return diag.Pos{File: p.name, Line: n.Line, Col: n.Column}
}

func (p *parser) fail(n *yaml.Node, message string) {
	p.ds = append(p.ds, diag.Diagnostic{
		Code: CodeFile, Severity: diag.Error, Pos: p.pos(n), Message: message,
		Effect: "this part of the file is not used", Fix: "see the comment at the top of samples/bookinfo/meshctl-local.yaml",
	})
}

// pairs calls each with the keys and values of a mapping.
func (p *parser) pairs(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, what+" must be a mapping")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			p.fail(key, fmt.Sprintf("%q is there twice", key.Value))
			continue
		}
		seen[key.Value] = true
		each(key, n.Content[i+1])
	}
}

func (p *parser) top(n *yaml.Node) {
	p.pairs(n, "the file", func(key, value *yaml.Node) {
		switch key.Value {
		case "images":
			p.pairs(value, "images", p.rule)
		case "resources":
			p.resources(value)
		default:
			p.fail(key, fmt.Sprintf("unknown field %q; known are images and resources", key.Value))
		}
	})
}

func (p *parser) resources(n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "resources must be a list of files")
		return
	}
	for _, item := range n.Content {
		clean := path.Clean(item.Value)
		if item.Kind != yaml.ScalarNode || item.Value == "" || path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
			p.fail(item, fmt.Sprintf("%q is not a file inside the folder", item.Value))
			continue
		}
		p.file.Resources = append(p.file.Resources, clean)
	}
}

func (p *parser) rule(key, value *yaml.Node) {
	r := Rule{Glob: key.Value, Pos: p.pos(key)}
	if _, err := match(r.Glob, ""); err != nil {
		p.fail(key, fmt.Sprintf("image pattern %q: %v", r.Glob, err))
		return
	}
	before := len(p.ds)
	count := 0
	p.pairs(value, "the program of "+key.Value, func(k, v *yaml.Node) {
		if k.Value == "command" {
			if v.Kind != yaml.ScalarNode || v.Value != "true" {
				p.fail(v, "command must be true, or be left out")
				return
			}
			r.Command = true
			count++
			return
		}
		field := map[string]*string{"program": &r.Program, "self": &r.Self, "build": &r.Build}[k.Value]
		if field == nil {
			p.fail(k, fmt.Sprintf("unknown field %q; known are program, self, build and command", k.Value))
			return
		}
		if v.Kind != yaml.ScalarNode || strings.TrimSpace(v.Value) == "" {
			p.fail(v, k.Value+" must be text")
			return
		}
		*field = v.Value
		count++
	})
	if len(p.ds) > before {
		return
	}
	if count != 1 {
		p.fail(value, "want exactly one of program, self, build and command")
		return
	}
	p.file.Rules = append(p.file.Rules, r)
}

// Lookup finds the rule for an image: the longest pattern that matches.
func (f *File) Lookup(image string) (Rule, bool) {
	best, found := Rule{}, false
	for _, r := range f.Rules {
		ok, err := match(r.Glob, image)
		if err == nil && ok && (!found || len(r.Glob) > len(best.Glob)) {
			best, found = r, true
		}
	}
	return best, found
}

// match is path.Match with * and ? also matching slashes, as image names have them.
func match(glob, image string) (bool, error) {
	const other = "\x00"
	return path.Match(strings.ReplaceAll(glob, "/", other), strings.ReplaceAll(image, "/", other))
}

// Words splits a command line at spaces. Quotes '…' and "…" keep spaces, a
// backslash keeps the next character; nothing is expanded.
func Words(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("command line %q ends inside a quotation", line)
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("the command line is empty")
	}
	return words, nil
}
