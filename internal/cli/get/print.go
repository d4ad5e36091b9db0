package get

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/meshctl/meshctl/internal/cli/apply"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/resource"
)

func (o *Options) print(ctx context.Context, m *env.Mesh, found []section) error {
	var all []meshapi.Object
	for _, s := range found {
		all = append(all, s.objects...)
	}
	if !o.Format.Is(stdio.TableFormat, stdio.Wide, stdio.CSV) {
		return o.printObjects(all)
	}
	pods, err := podsByName(ctx, m, found)
	if err != nil {
		return err
	}
	printed := 0
	for _, s := range found {
		if len(s.objects) == 0 {
			continue
		}
		if printed > 0 {
			o.Env.IO.Printf("\n")
		}
		printed++
		t := o.table(s, len(found) > 1, pods)
		if err := o.Env.IO.Print(o.Format, stdio.Document{Table: func() stdio.Table { return t }}); err != nil {
			return err
		}
	}
	if printed == 0 {
		where := "in namespace " + o.Env.Namespace()
		if o.All {
			where = "in any namespace"
		}
		o.Env.IO.Sayf("no objects found %s\n", where)
	}
	return nil
}

// printObjects prints what the user wrote: one object as itself, several as a List.
func (o *Options) printObjects(all []meshapi.Object) error {
	names := func() []string {
		var out []string
		for _, x := range all {
			out = append(out, apply.ObjectName(x.Key))
		}
		return out
	}
	single := len(o.Refs) == 1 && o.Refs[0].Name != "" && len(all) == 1
	if o.Format.Is(stdio.YAML) {
		var objects []*resource.Object
		for _, x := range all {
			objects = append(objects, &resource.Object{Key: resource.Key{Kind: resource.Kind{Group: x.Group, Kind: x.Kind}, Namespace: x.Namespace, Name: x.Name}, Raw: x.Raw})
		}
		b, err := resource.EncodeAll(objects, resource.YAML)
		if err != nil {
			return err
		}
		_, err = o.Env.IO.Out.Write(b)
		return err
	}
	if single {
		return o.Env.IO.Print(o.Format, stdio.Document{Value: all[0].Raw, Names: names})
	}
	items := []json.RawMessage{}
	for _, x := range all {
		items = append(items, x.Raw)
	}
	return o.Env.IO.Print(o.Format, stdio.Document{
		Value: map[string]any{"apiVersion": "v1", "kind": "List", "items": items}, Names: names,
	})
}

// table prints the columns that people know from kubectl for the kind.
func (o *Options) table(s section, several bool, pods map[string]podFacts) stdio.Table {
	c := columnsOf(s.info.Kind)
	t := stdio.Table{Columns: []string{"NAME"}, NoHeaders: o.NoHeaders, Wide: map[int]bool{}}
	lead := 0
	if o.All && s.info.Namespaced {
		t.Columns, lead = []string{"NAMESPACE", "NAME"}, 1
	}
	t.Columns = append(t.Columns, c.names...)
	t.Columns = append(t.Columns, "AGE")
	wide := len(t.Columns)
	t.Columns = append(t.Columns, c.wide...)
	t.Columns = append(t.Columns, "FROM")
	for i := wide; i < len(t.Columns); i++ {
		t.Wide[i] = true
	}
	t.Style = func(_, column int, text string) stdio.Style {
		if column > lead && t.Columns[column] == "STATUS" && text != "Running" && text != "Completed" {
			return stdio.Yellow
		}
		return stdio.Plain
	}
	for _, x := range s.objects {
		name := x.Name
		if several {
			name = apply.ObjectName(x.Key)
		}
		row := []string{name}
		if lead == 1 {
			row = []string{x.Namespace, name}
		}
		facts := read(x, pods)
		row = append(row, c.cells(facts)...)
		row = append(row, o.Env.Age(facts.created()))
		if c.wideCells != nil {
			row = append(row, c.wideCells(facts)...)
		}
		from := x.Source
		if x.Pos.File != "" {
			from = x.Pos.String()
		}
		t.Rows = append(t.Rows, append(row, from))
	}
	return t
}

// podsByName finds what is known of running pods, when pods are listed.
func podsByName(ctx context.Context, m *env.Mesh, found []section) (map[string]podFacts, error) {
	for _, s := range found {
		if s.info.Kind != resource.KindPod && !runsPods(s.info.Kind) {
			continue
		}
		pods, err := m.Pods(ctx)
		if err != nil {
			return nil, exit.Failuref("cannot list pods").Because(err)
		}
		out := map[string]podFacts{}
		for _, p := range pods {
			out[fmt.Sprintf("%s/%s", p.Namespace, p.Name)] = podFacts{p}
		}
		return out, nil
	}
	return nil, nil //nolint:nilnil // no pods are listed
}
