package stdio_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/cli/stdio"
)

type item struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

func document() stdio.Document {
	items := []item{{"a", 1}, {"long <name>", 22}}
	return stdio.Document{
		Kind: "ThingList", Items: items,
		Names: func() []string { return []string{"thing/a", "thing/b"} },
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"NAME", "SIZE", "MORE"}, Wide: map[int]bool{2: true}}
			t.Add("a", "1", "x")
			t.Add("long <name>", "22", "")
			return t
		},
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"table": "NAME          SIZE\na             1\nlong <name>   22\n",
		"wide":  "NAME          SIZE   MORE\na             1      x\nlong <name>   22     \n",
		"name":  "thing/a\nthing/b\n",
		"json": `{
  "apiVersion": "cli.meshctl.dev/v1",
  "items": [
    {
      "name": "a",
      "size": 1
    },
    {
      "name": "long <name>",
      "size": 22
    }
  ],
  "kind": "ThingList"
}
`,
		"yaml":                                    "apiVersion: cli.meshctl.dev/v1\nitems:\n- name: a\n  size: 1\n- name: long <name>\n  size: 22\nkind: ThingList\n",
		"jsonpath={.items[*].name}":               "a long <name>\n",
		"jsonpath=.items[1].size":                 "22\n",
		`jsonpath={.items[?(@.size>5)].name}`:     "long <name>\n",
		`jsonpath={range .items[*]}{.name},{end}`: "a,long <name>,\n",
		"jsonpath={.missing}":                     "\n",
		"csv":                                     "NAME,SIZE,MORE\na,1,x\nlong <name>,22,\n",
		`go-template={{range .items}}{{.name}}:{{.size}};{{end}}`:     "a:1;long <name>:22;",
		`go-template={{if exists . "items"}}{{.kind}}{{end}}{{"\n"}}`: "ThingList\n",
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			f := stdio.Formats(stdio.Wide, stdio.Name, stdio.CSV)
			if err := f.Set(format); err != nil {
				t.Fatal(err)
			}
			if err := (&stdio.Streams{Out: &out, Err: &out}).Print(f, document()); err != nil {
				t.Fatal(err)
			}
			if out.String() != want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), want)
			}
		})
	}
}

func TestBadFormats(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"", "xml", "jsonpath", "jsonpath=", "jsonpath={.a", "go-template", "go-template={{", "wide", "csv"} {
		f := stdio.Formats()
		if err := f.Set(format); err == nil {
			t.Errorf("%q is taken", format)
		}
	}
}

// TestColourIsOnlyDressing: without the escape sequences, a terminal shows what a
// pipe gets, and every column begins at one place.
func TestColourIsOnlyDressing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 5).Draw(t, "columns")
		cell := rapid.StringMatching(`[a-zé→]{0,12}`)
		table := stdio.Table{Style: func(row, column int, _ string) stdio.Style {
			return []stdio.Style{stdio.Plain, stdio.Red, stdio.Bold}[(row+column)%3]
		}}
		for range columns {
			table.Columns = append(table.Columns, rapid.StringMatching(`[A-Z]{1,9}`).Draw(t, "name"))
		}
		for range rapid.IntRange(0, 6).Draw(t, "rows") {
			table.Rows = append(table.Rows, rapid.SliceOfN(cell, columns, columns).Draw(t, "row"))
		}
		print := func(color bool) string {
			var out bytes.Buffer
			s := &stdio.Streams{Out: &out, OutColor: color}
			if err := s.Print(stdio.Formats(), stdio.Document{Table: func() stdio.Table { return table }}); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		plain, dressed := print(false), print(true)
		for _, s := range []string{"\x1b[0m", "\x1b[1m", "\x1b[31m"} {
			dressed = strings.ReplaceAll(dressed, s, "")
		}
		if plain != dressed {
			t.Fatalf("a pipe gets\n%q\na terminal\n%q", plain, dressed)
		}
		if lines := strings.Split(plain, "\n"); len(lines) != len(table.Rows)+2 {
			t.Fatalf("%d lines for %d rows", len(lines), len(table.Rows))
		}
	})
}
