package injection

import (
	"strings"
	"testing"
)

func TestRevisionThatIsMeant(t *testing.T) {
	for _, c := range []struct {
		have      []string
		want, err string
	}{
		{nil, "default", ""},
		{[]string{"canary"}, "canary", ""},
		{[]string{"canary", "default", "1-31"}, "default", ""},
		{[]string{"canary", "1-31"}, "", "1-31, canary"},
	} {
		got, err := meant(c.have)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("of %v: %q, %v", c.have, got, err)
		}
	}
}
