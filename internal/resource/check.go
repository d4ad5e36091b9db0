package resource

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/meshctl/meshctl/internal/diag"
)

// check collects the findings of validating one object.
type check struct {
	obj diag.Object
	at  func(path string) diag.Pos
	ds  []diag.Diagnostic
}

func (c *check) add(d diag.Diagnostic, path string) {
	if len(c.ds) >= maxFindings {
		return
	}
	d.Object, d.Field, d.Pos = c.obj, path, c.at(path)
	c.ds = append(c.ds, d)
}

// errorf reports what makes the object unusable.
func (c *check) errorf(path, fix, format string, args ...any) {
	c.add(diag.Diagnostic{Code: CodeSchema, Severity: diag.Error, Message: fmt.Sprintf(format, args...), Effect: effectNotUsed, Fix: fix}, path)
}

// warnf reports what is likely not meant; effect says what it does to traffic.
func (c *check) warnf(path, effect, fix, format string, args ...any) {
	c.add(diag.Diagnostic{Code: CodeSchemaWarning, Severity: diag.Warning, Message: fmt.Sprintf(format, args...), Effect: effect, Fix: fix}, path)
}

// problem reports what a rule of syntax found; "" is no finding.
func (c *check) problem(path, problem, fix string) bool {
	if problem == "" {
		return true
	}
	c.errorf(path, fix, "%s", problem)
	return false
}

// item is the path of a list item.
func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// entry is the path of a map's value.
func entry(path, key string) string { return path + "[" + key + "]" }

// exclusive reports when more than one of several fields is set.
func (c *check) exclusive(path string, set map[string]bool, order ...string) {
	var found []string
	for _, name := range order {
		if set[name] {
			found = append(found, name)
		}
	}
	if len(found) > 1 {
		c.errorf(path+"."+found[1], "keep one of them", "%s and %s exclude each other", found[0], found[1])
	}
}

// sortFindings puts findings in the order of the text, whatever order maps had.
func sortFindings(ds []diag.Diagnostic) {
	slices.SortStableFunc(ds, func(a, b diag.Diagnostic) int {
		return cmp.Or(a.Pos.Compare(b.Pos), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
}
