package proxyconfig

import (
	"encoding/json"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// view is one kind of resource in all forms.
type view struct {
	what string // for "nothing found"
	// table makes the columns and rows of one proxy.
	table func(subject) stdio.Table
	// items are its resources as the proxy printed them, for JSON and YAML.
	items func(subject) any
	// has reports whether a dump can know of the resource at all.
	has func(subject) bool
}

// print shows the resources of all subjects. Of one, JSON is the list of
// resources, as istioctl has it; of several, a list with their names.
func (t *Target) print(all []subject, v view) error {
	for _, s := range all {
		if !v.has(s) {
			return exit.Dataf("%s holds no %s", s.Name, v.what).Try("meshctl proxy-config all POD -o json, which holds everything")
		}
	}
	return t.Env.IO.Print(t.Format, stdio.Document{
		Value: values(all, v.items),
		Empty: "no " + v.what + " found",
		Table: func() stdio.Table { return joined(all, v.table) },
	})
}

func values(all []subject, items func(subject) any) any {
	if len(all) == 1 {
		return items(all[0])
	}
	type one struct {
		Pod   string `json:"pod"`
		Items any    `json:"items"`
	}
	var list []one
	for _, s := range all {
		list = append(list, one{s.Name, items(s)})
	}
	return map[string]any{"apiVersion": stdio.APIVersion, "kind": "ProxyConfigList", "items": list}
}

// joined is one table of all subjects, with a column for their names when there
// are several.
func joined(all []subject, table func(subject) stdio.Table) stdio.Table {
	if len(all) == 1 {
		return table(all[0])
	}
	var out stdio.Table
	for i, s := range all {
		t := table(s)
		if i == 0 {
			out = stdio.Table{Columns: append([]string{"POD"}, t.Columns...), Wide: map[int]bool{}}
			for c, wide := range t.Wide {
				out.Wide[c+1] = wide
			}
			if t.Style != nil {
				out.Style = func(row, column int, text string) stdio.Style { return t.Style(row, column-1, text) }
			}
		}
		for _, r := range t.Rows {
			out.Rows = append(out.Rows, append([]string{s.Name}, r...))
		}
	}
	return out
}

// raw is the resources of rows, never null.
func raw[T any](rows []T, of func(T) json.RawMessage) any {
	out := []json.RawMessage{}
	for _, r := range rows {
		out = append(out, of(r))
	}
	return out
}

func hasConfig(s subject) bool { return s.Dump.HasConfig }
