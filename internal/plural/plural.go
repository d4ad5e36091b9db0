// Package plural writes numbers of things: "1 pod", "3 pods".
package plural

import "fmt"

// Of is a number with its noun, whose plural takes an s.
func Of[N int | int64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
