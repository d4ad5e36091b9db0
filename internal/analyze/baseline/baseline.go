// Package baseline remembers findings that are known, so that only new ones count.
//
//	known, err := baseline.Parse(data)
//	fresh, left := known.Without(found)
//
// A finding is the same as one of the file when code, object, field and message are:
// places in files, and numbers of list items in the field, may change.
package baseline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/meshctl/meshctl/internal/diag"
)

// The header of the file.
const (
	apiVersion = "cli.meshctl.dev/v1"
	kind       = "AnalysisBaseline"
)

// maxBytes bounds the file that is read.
const maxBytes = 32 << 20

// Item is one known finding.
type Item struct {
	Code    string `json:"code"`
	Object  string `json:"object,omitempty"` // Kind namespace/name
	Field   string `json:"field,omitempty"`  // without numbers of list items
	Message string `json:"message"`
}

// Baseline is the findings that are known. One that is listed twice is known twice.
type Baseline struct{ items map[Item]int }

type file struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []Item `json:"items"`
}

// Of makes a baseline of what was found.
func Of(found []diag.Diagnostic) Baseline {
	b := Baseline{items: map[Item]int{}}
	for _, d := range found {
		b.items[itemOf(d)]++
	}
	return b
}

var indexes = regexp.MustCompile(`\[\d+\]`)

func itemOf(d diag.Diagnostic) Item {
	return Item{Code: d.Code, Object: d.Object.String(), Field: indexes.ReplaceAllString(d.Field, "[]"), Message: d.Message}
}

// Key is what a finding is recognised by, as one text.
func Key(d diag.Diagnostic) string {
	i := itemOf(d)
	return i.Code + "\x00" + i.Object + "\x00" + i.Field + "\x00" + i.Message
}

// Parse reads a file that Format wrote. Unknown fields are refused: they would be
// findings that somebody believes to be known.
func Parse(data []byte) (Baseline, error) {
	if len(data) > maxBytes {
		return Baseline{}, fmt.Errorf("the file has %d bytes, at most %d are read", len(data), maxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var f file
	if err := d.Decode(&f); err != nil {
		return Baseline{}, fmt.Errorf("read it as JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Baseline{}, errors.New("there is more after the JSON object")
	}
	if f.APIVersion != apiVersion || f.Kind != kind {
		return Baseline{}, fmt.Errorf("it is a %s of %s, not an %s of %s", cmp.Or(f.Kind, "document without kind"), cmp.Or(f.APIVersion, "no version"), kind, apiVersion)
	}
	b := Baseline{items: map[Item]int{}}
	for i, item := range f.Items {
		if item.Code == "" || item.Message == "" {
			return Baseline{}, fmt.Errorf("items[%d] has no code or no message", i)
		}
		b.items[item]++
	}
	return b, nil
}

// Format writes the file, in an order that makes changes easy to read.
func (b Baseline) Format() []byte {
	f := file{APIVersion: apiVersion, Kind: kind, Items: []Item{}}
	for item, n := range b.items {
		for range n {
			f.Items = append(f.Items, item)
		}
	}
	slices.SortFunc(f.Items, func(x, y Item) int {
		return cmp.Or(cmp.Compare(x.Object, y.Object), cmp.Compare(x.Code, y.Code), cmp.Compare(x.Field, y.Field), cmp.Compare(x.Message, y.Message))
	})
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(f) // strings alone can always be written
	return out.Bytes()
}

// Len is the number of known findings.
func (b Baseline) Len() int {
	n := 0
	for _, k := range b.items {
		n += k
	}
	return n
}

// Without leaves out what is known, and says how many known findings were not
// found any more.
func (b Baseline) Without(found []diag.Diagnostic) (fresh []diag.Diagnostic, gone int) {
	left := map[Item]int{}
	maps.Copy(left, b.items)
	for _, d := range found {
		if i := itemOf(d); left[i] > 0 {
			left[i]--
			continue
		}
		fresh = append(fresh, d)
	}
	for _, n := range left {
		gone += n
	}
	return fresh, gone
}
