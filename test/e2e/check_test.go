//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
)

func missing(what string, got, want int) error { return fmt.Errorf("%d %s of %d", got, what, want) }

func errorOf(format string, args ...any) error { return fmt.Errorf(format, args...) }

func regexpOf(text string) *regexp.Regexp { return regexp.MustCompile(text) }
