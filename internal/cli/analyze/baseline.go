package analyze

import (
	"errors"
	"io/fs"
	"os"

	"github.com/meshctl/meshctl/internal/analyze/baseline"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/plural"
)

// unknownToBaseline leaves out what is known, and says so.
func (o *Options) unknownToBaseline(found []diag.Diagnostic) ([]diag.Diagnostic, error) {
	if o.Baseline == "" {
		return found, nil
	}
	data, err := os.ReadFile(o.Baseline)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exit.Dataf("there is no baseline %s", o.Baseline).Try("meshctl analyze --write-baseline %s …, to write it", o.Baseline)
	}
	if err != nil {
		return nil, exit.Dataf("cannot read baseline %s", o.Baseline).Because(err)
	}
	b, err := baseline.Parse(data)
	if err != nil {
		return nil, exit.Dataf("%s is not a baseline", o.Baseline).Because(err).Try("meshctl analyze --write-baseline %s …, to write it again", o.Baseline)
	}
	fresh, gone := b.Without(found)
	if n := len(found) - len(fresh); n > 0 {
		o.Env.IO.Sayf("%s left out: known by %s\n", plural.Of(n, "finding"), o.Baseline)
	}
	if gone > 0 {
		o.Env.IO.Sayf("%s of %s not found any more; --write-baseline %s takes them out\n", plural.Of(gone, "finding"), o.Baseline, o.Baseline)
	}
	return fresh, nil
}

// writeBaseline writes what was found, for the next time.
func (o *Options) writeBaseline(b baseline.Baseline) error {
	if err := writeFile(o.WriteBaseline, b.Format()); err != nil {
		return exit.Failuref("cannot write baseline %s", o.WriteBaseline).Because(err)
	}
	o.Env.IO.Sayf("%s written to %s\n", plural.Of(b.Len(), "finding"), o.WriteBaseline)
	return nil
}
