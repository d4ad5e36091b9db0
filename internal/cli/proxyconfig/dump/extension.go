package dump

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// Extension is a filter that comes by itself (ECDS).
type Extension struct {
	Name string
	Type string // of its configuration, without its prefix
	Raw  json.RawMessage
}

// Extensions lists them by name.
func (d *Dump) Extensions() []Extension {
	var out []Extension
	for _, r := range d.extends {
		var x struct {
			Name   string `json:"name"`
			Config struct {
				Type  string `json:"@type"`
				Inner string `json:"type_url"` // of a TypedStruct
			} `json:"typed_config"`
		}
		if json.Unmarshal(r.Raw, &x) != nil {
			continue
		}
		t := cmp.Or(x.Config.Inner, x.Config.Type)
		out = append(out, Extension{x.Name, t[strings.LastIndexByte(t, '/')+1:], r.Raw})
	}
	slices.SortStableFunc(out, func(a, b Extension) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
