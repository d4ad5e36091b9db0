package compile

import (
	"errors"
	"fmt"
	"strconv"
)

// fieldError is an error with the path of the field it is about. The path grows
// from the inside while the error travels up, so that nothing is spent on paths
// when all is well.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string {
	if e.path == "" {
		return e.err.Error()
	}
	return e.path + ": " + e.err.Error()
}

func (e *fieldError) Unwrap() error { return e.err }

// in says that err happened inside the field called name.
func in(name string, err error) error {
	if err == nil {
		return nil
	}
	var f *fieldError
	if !errors.As(err, &f) {
		return &fieldError{path: name, err: err}
	}
	switch {
	case f.path == "":
		f.path = name
	case f.path[0] == '[':
		f.path = name + f.path
	default:
		f.path = name + "." + f.path
	}
	return f
}

// at says that err happened in element i of a list field.
func at(name string, i int, err error) error {
	if err == nil {
		return nil
	}
	return in(name+"["+strconv.Itoa(i)+"]", err)
}

// key says that err happened under a key of a map field.
func key(name, k string, err error) error {
	if err == nil {
		return nil
	}
	return in(name+"["+strconv.Quote(k)+"]", err)
}

// unsupported is the error for something that is valid in Envoy and not here.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("unsupported "+format, args...)
}
