package yamlerror_test

import (
	"errors"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v4"

	"github.com/meshctl/meshctl/internal/yamlerror"
)

// What the decoder really says comes out without the names of types.
func TestText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: 1\nb: 2\n":      "there is no field b",
		"b: 1\nc: {d: 2}\n": "there are no fields b, c",
	} {
		var into struct {
			A int `yaml:"a"`
		}
		d := yaml.NewDecoder(strings.NewReader(text))
		d.KnownFields(true)
		if err := yamlerror.Text(d.Decode(&into)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	other := errors.New("else")
	if yamlerror.Text(other) != other || yamlerror.Text(nil) != nil { //nolint:errorlint // the same one is meant
		t.Error("other errors are changed")
	}
}
