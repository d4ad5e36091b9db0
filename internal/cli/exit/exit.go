// Package exit holds the errors that commands return to choose an exit code and
// to tell the user the next step, and prints them: the only place that does.
//
//	return exit.Dataf("%s holds no object", file).Because(err).Try("meshctl validate -f %s", file)
//
// It is printed on standard error as
//
//	error: reviews.yaml holds no object
//	cause: …
//	try:   meshctl validate -f reviews.yaml
package exit

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Exit codes. The first five are istioctl's and sysexits(3)'s.
const (
	OK          = 0
	Failure     = 1   // anything not listed
	Usage       = 64  // wrong flags or arguments
	Data        = 65  // a file cannot be read as what it should be
	Unreachable = 69  // no mesh, or no answer from it
	Timeout     = 75  // not done in time; trying again may help
	Rights      = 77  // the user may not do it
	Findings    = 79  // analyze found something
	Interrupted = 130 // Ctrl-C
)

// Error is what went wrong, in words for a user.
type Error struct {
	Code    int
	Message string
	Cause   error    // why, may be nil
	Steps   []string // what to do next, best first
	silent  bool     // the command has said everything itself
}

// Error implements error: the message and its cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Because adds why.
func (e *Error) Because(err error) *Error {
	e.Cause = err
	return e
}

// Try adds a next step, most often a command.
func (e *Error) Try(format string, args ...any) *Error {
	e.Steps = append(e.Steps, fmt.Sprintf(format, args...))
	return e
}

// New makes an error with a code.
func New(code int, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Usagef is a mistake in how the command was called.
func Usagef(format string, args ...any) *Error { return New(Usage, format, args...) }

// Dataf is a file or value that cannot be read as what it should be.
func Dataf(format string, args ...any) *Error { return New(Data, format, args...) }

// Failuref is any other failure.
func Failuref(format string, args ...any) *Error { return New(Failure, format, args...) }

// Silent ends with a code and no message: the command has printed why.
func Silent(code int) error { return &Error{Code: code, silent: true} }

// CodeOf is the exit code of an error.
func CodeOf(err error) int {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	default:
		return Failure
	}
}

// Print writes an error for people; bold is put around the first word, and may
// return its argument as it is.
func Print(w io.Writer, err error, bold func(string) string) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Message: err.Error()}
	}
	if e.silent {
		return
	}
	line := func(label, text string) {
		pad := strings.Repeat(" ", 7-len(label))
		text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n       ")
		fmt.Fprintf(w, "%s%s%s\n", bold(label), pad, text)
	}
	line("error:", e.Message)
	if e.Cause != nil {
		line("cause:", e.Cause.Error())
	}
	for i, s := range e.Steps {
		if i == 0 {
			line("try:", s)
		} else {
			line("", s)
		}
	}
}
