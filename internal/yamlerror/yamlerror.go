// Package yamlerror puts the errors of a strict YAML decoder into words for people: a
// decoder names the types of a program, which say nothing to who wrote the file.
package yamlerror

import (
	"errors"
	"regexp"
	"strings"
)

var unknownField = regexp.MustCompile(`(?:line \d+: )?field (\S+) not found in type \S+`)

// Text rewrites what a decoder says of fields that do not exist: there is no field x.
// Other errors are left as they are.
func Text(err error) error {
	if err == nil {
		return nil
	}
	found := unknownField.FindAllStringSubmatch(err.Error(), -1)
	if len(found) == 0 {
		return err
	}
	var names []string
	for _, m := range found {
		names = append(names, m[1])
	}
	if len(names) == 1 {
		return errors.New("there is no field " + names[0])
	}
	return errors.New("there are no fields " + strings.Join(names, ", "))
}
