// Package diagnostics holds the page of each kind of finding, as text that programs
// carry with them: `meshctl explain IST0101`.
//
//	page, ok := diagnostics.Lookup("IST0101")
//
// A page is a Markdown file named after its code:
//
//	# CODE Name
//	**Level** or **Level, Level**, then in one paragraph what it means
//	## What traffic does
//	## Example        a YAML block that raises the code
//	## Fix            and one that does not any more
//
// A test of internal/analyze runs the examples and holds the pages to what the code
// does.
package diagnostics

import (
	"embed"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

//go:embed *.md
var files embed.FS

// Page is what is written about a code.
type Page struct {
	Code    string
	Name    string
	Levels  []string // that the finding may have, most often one
	Summary string   // one sentence
	Text    string   // the whole page, Markdown
	// Example raises the code, and Fixed does not; "" where files do not decide.
	Example, Fixed string
	// Besides are codes that the example raises too.
	Besides []string
}

// Lookup finds the page of a code, in any case.
func Lookup(code string) (Page, bool) {
	text, err := files.ReadFile(strings.ToUpper(code) + ".md")
	if err != nil || code == "README" {
		return Page{}, false
	}
	return parse(string(text)), true
}

// All lists every page, ordered by code.
func All() []Page {
	names, _ := fs.Glob(files, "*[0-9].md") // the pattern is right, and nothing else fails
	slices.Sort(names)
	pages := make([]Page, 0, len(names))
	for _, n := range names {
		if p, ok := Lookup(strings.TrimSuffix(n, ".md")); ok {
			pages = append(pages, p)
		}
	}
	return pages
}

// Index is where all pages are.
const Index = "https://github.com/meshctl/meshctl/blob/main/docs/diagnostics/"

// URL is where the page of a code can be read.
func URL(code string) string { return Index + code + ".md" }

const besides = "The example raises this besides: "

func parse(text string) Page {
	p := Page{Text: text}
	title, rest, _ := strings.Cut(text, "\n")
	p.Code, p.Name, _ = strings.Cut(strings.TrimPrefix(title, "# "), " ")
	rest = strings.TrimSpace(rest)
	if level, after, ok := strings.Cut(strings.TrimPrefix(rest, "**"), "**"); ok {
		p.Levels = strings.Split(strings.TrimSuffix(level, "."), ", ")
		paragraph, _, _ := strings.Cut(strings.TrimLeft(after, " ."), "\n\n")
		p.Summary = firstSentence(strings.Join(strings.Fields(paragraph), " "))
	}
	p.Example = yamlIn(section(text, "## Example"))
	if p.Example != "" {
		p.Fixed = yamlIn(section(text, "## Fix"))
	}
	for line := range strings.Lines(text) {
		if codes, ok := strings.CutPrefix(strings.TrimSpace(line), besides); ok {
			p.Besides = strings.Split(strings.TrimSuffix(codes, "."), ", ")
		}
	}
	return p
}

var sentenceEnd = regexp.MustCompile(`[.!?] [A-Z]`)

func firstSentence(s string) string {
	if at := sentenceEnd.FindStringIndex(s); at != nil {
		return s[:at[0]+1]
	}
	return s
}

func section(text, title string) string {
	_, rest, ok := strings.Cut(text, "\n"+title+"\n")
	if !ok {
		return ""
	}
	before, _, _ := strings.Cut(rest, "\n## ")
	return before
}

func yamlIn(section string) string {
	_, rest, ok := strings.Cut(section, "```yaml\n")
	if !ok {
		return ""
	}
	block, _, _ := strings.Cut(rest, "```")
	return block
}
