package inspect

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Description is all that there is to say of one thing.
type Description struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	At        string `json:"at,omitempty"` // file:line:column
	Facts     []Fact `json:"facts"`
	// Sections are in the order in which they are of interest; none is empty.
	Sections []Section         `json:"sections,omitempty"`
	Findings []diag.Diagnostic `json:"findings,omitempty"` // of the thing and of all that decides about it
}

// Fact is one value and what decided it.
type Fact struct {
	Name    string           `json:"name"`
	Value   string           `json:"value"`
	Bad     bool             `json:"bad,omitempty"` // something to put right
	Decided *whatif.Decision `json:"decidedBy,omitempty"`
}

// Section is a list under a title. Columns that are empty in every row are left
// out by Shown.
type Section struct {
	Title   string
	Columns []string
	Rows    []Row
}

// Row is one line of a section.
type Row struct {
	Cells   []string
	Note    string // why it does not count, or what is odd about it
	Decided *whatif.Decision
}

// MarshalJSON makes an object of each row: cells by the names of their columns,
// note, decidedBy.
func (s Section) MarshalJSON() ([]byte, error) {
	items := make([]map[string]any, len(s.Rows))
	for i, r := range s.Rows {
		item := map[string]any{}
		for j, c := range r.Cells {
			if c != "" {
				item[camel(s.Columns[j])] = c
			}
		}
		if r.Note != "" {
			item["note"] = r.Note
		}
		if r.Decided != nil {
			item["decidedBy"] = r.Decided
		}
		items[i] = item
	}
	return json.Marshal(struct {
		Title string           `json:"title"`
		Items []map[string]any `json:"items"`
	}{s.Title, items})
}

// camel makes serviceAccount of SERVICE ACCOUNT.
func camel(column string) string {
	words := strings.Fields(strings.ToLower(column))
	for i := 1; i < len(words); i++ {
		words[i] = strings.ToUpper(words[i][:1]) + words[i][1:]
	}
	return strings.Join(words, "")
}

// add appends a row.
func (s *Section) add(decided *whatif.Decision, note string, cells ...string) {
	s.Rows = append(s.Rows, Row{cells, note, decided})
}

func (d *Description) fact(name, value string, decided *whatif.Decision) {
	if value != "" {
		d.Facts = append(d.Facts, Fact{Name: name, Value: value, Decided: decided})
	}
}

func (d *Description) bad(name, value string, decided *whatif.Decision) {
	d.Facts = append(d.Facts, Fact{Name: name, Value: value, Decided: decided, Bad: true})
}

// section adds a section unless it is empty.
func (d *Description) section(s Section) {
	if len(s.Rows) > 0 {
		d.Sections = append(d.Sections, s)
	}
}

// Section finds a section by its title; nil when there is none.
func (d *Description) Section(title string) *Section {
	i := slices.IndexFunc(d.Sections, func(s Section) bool { return s.Title == title })
	if i < 0 {
		return nil
	}
	return &d.Sections[i]
}

// Inspector describes the things of one world.
type Inspector struct {
	w        *whatif.World
	findings []diag.Diagnostic
}

// New makes an Inspector; findings are those of the whole world.
func New(w *whatif.World, findings []diag.Diagnostic) *Inspector { return &Inspector{w, findings} }

// about is one description in the making, and what it has met.
type about struct {
	*Inspector
	Description
	met map[diag.Object]bool
}

func (in *Inspector) about(o *resource.Object) *about {
	a := &about{Inspector: in, met: map[diag.Object]bool{}}
	if o != nil {
		a.Kind, a.Namespace, a.Name = o.Key.Kind.Kind, o.Key.Namespace, o.Key.Name
		if !o.Pos.IsZero() {
			a.At = o.Pos.String()
		}
		a.met[o.Ref()] = true
	}
	return a
}

// meet notes an object that has a say; its findings are told too.
func (a *about) meet(o mesh.Origin) { a.met[o.Ref()] = true }

// done adds the findings of all that was met.
func (a *about) done() *Description {
	for _, f := range a.findings {
		if a.met[f.Object] {
			a.Findings = append(a.Findings, f)
		}
	}
	return &a.Description
}

// name is namespace/name of an origin, without the namespace where it is the given one.
func name(o mesh.Origin, namespace string) string {
	if o.Namespace == "" || o.Namespace == namespace {
		return o.Name
	}
	return o.Namespace + "/" + o.Name
}

// byOrigin sorts configs in the order in which objects compete.
func byOrigin(a, b mesh.Origin) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	default:
		return cmp.Compare(a.Key(), b.Key())
	}
}
