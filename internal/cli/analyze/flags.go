package analyze

import (
	"slices"
	"strings"

	"github.com/meshctl/meshctl/docs/diagnostics"
	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// read turns flags into options.
func (o *Options) read(t texts) error {
	var err error
	if o.Failure, err = severity("failure-threshold", t.failure); err != nil {
		return err
	}
	if o.Shown, err = severity("output-threshold", t.shown); err != nil {
		return err
	}
	if err := o.checkAnalyzers(); err != nil {
		return err
	}
	for _, s := range t.suppress {
		p, err := parseSuppression(s)
		if err != nil {
			return exit.Usagef("--suppress %q: %v", s, err).Try(`meshctl analyze -S "IST0101=VirtualService *.default" …`)
		}
		if !strings.ContainsAny(p.code, "*?[") && len(o.Rules) == 0 {
			if _, ok := diagnostics.Lookup(p.code); !ok {
				o.Env.IO.Sayf("there is no code %s: --suppress %q leaves nothing out\n", p.code, s)
			}
		}
		o.Suppress = append(o.Suppress, p)
	}
	return o.checkTogether()
}

// checkAnalyzers refuses names that no analyzer has: none would run, and nothing
// would be found.
func (o *Options) checkAnalyzers() error {
	names := analyzerNames()
	for _, name := range o.Only {
		if slices.ContainsFunc(names, func(n string) bool { return checks.Wants([]string{name}, n) }) {
			continue
		}
		e := exit.Usagef("there is no analyzer %q", name)
		if near := nearestAnalyzer(name, names); near != "" {
			e = e.Try("did you mean %s?", near)
		}
		return e.Try("meshctl analyze --list-analyzers")
	}
	return nil
}

// nearestAnalyzer is the analyzer that was most likely meant: by its whole name, or
// by the part after the dot.
func nearestAnalyzer(name string, names []string) string {
	if near := resource.Nearest(name, names); near != "" {
		return near
	}
	for _, n := range names {
		for part := range strings.SplitSeq(n, ".") {
			if strings.EqualFold(strings.TrimSuffix(part, "Analyzer"), strings.TrimSuffix(name, "Analyzer")) {
				return n
			}
		}
	}
	return ""
}

// checkTogether refuses flags that make no sense together.
func (o *Options) checkTogether() error {
	switch {
	case o.Write && !o.Fix:
		return exit.Usagef("--write is for --fix").Try("meshctl analyze --fix --write …")
	case (o.Fix || o.Watch) && len(o.Paths) == 0:
		return exit.Usagef("--fix and --watch need files").Try("meshctl analyze --fix manifests/")
	case o.Fix && o.Watch:
		return exit.Usagef("--fix and --watch exclude each other")
	case o.Watch && slices.Contains(o.Paths, "-"):
		return exit.Usagef("standard input cannot be watched").Try("meshctl analyze --watch manifests/")
	}
	return nil
}

func severity(flag, text string) (diag.Severity, error) {
	for _, s := range []diag.Severity{diag.Info, diag.Warning, diag.Error} {
		if strings.EqualFold(text, s.String()) {
			return s, nil
		}
	}
	return 0, exit.Usagef("--%s %q is not one of Info, Warning, Error", flag, text)
}
