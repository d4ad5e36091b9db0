// Package rule checks objects against rules that users write in CEL.
//
//	rules, err := rule.Parse("replicas.yaml", text)
//	found := rule.Run(ctx, rules, objects)
//
// A file holds a list of rules. An object of the kinds that a rule names is wrong
// when the expression is false:
//
//	rules:
//	- code: SHOP0001
//	  name: TwoReplicas
//	  level: Error
//	  kinds: [Deployment]
//	  expression: has(object.spec.replicas) && object.spec.replicas >= 2
//	  message: a Deployment of the shop runs at least two replicas
//	  field: spec.replicas
//	  fix: set replicas to 2 or more
//
// Expressions see object, as it is written; namespaceObject, the Namespace that it
// is in, or null; and objects, the list of all. Every evaluation has a limit on what
// it may cost, and so has a rule over all objects: no rule can hang an analysis.
package rule

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	yaml "go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/yamlerror"
)

// Limits of a file of rules, and of what rules may cost in CEL's units.
const (
	maxFile       = 1 << 20
	maxDepth      = 16
	maxRules      = 1000
	maxExpression = 8 << 10
	costOfOne     = 1_000_000
	costOfAll     = 200_000_000
	checkEvery    = 100 // steps between looks at whether it is time to stop
)

// Rule is one check, ready to run. Read-only.
type Rule struct {
	Code  string
	Name  string
	Level diag.Severity

	pos        diag.Pos
	kinds      []string
	expression cel.Program
	message    string
	messageOf  cel.Program // nil unless the message is an expression
	field      string
	effect     string
	fix        string
}

// written is a rule as it stands in a file.
type written struct {
	Code              string   `yaml:"code"`
	Name              string   `yaml:"name"`
	Level             string   `yaml:"level"`
	Kinds             []string `yaml:"kinds"`
	Expression        string   `yaml:"expression"`
	Message           string   `yaml:"message"`
	MessageExpression string   `yaml:"messageExpression"`
	Field             string   `yaml:"field"`
	Effect            string   `yaml:"effect"`
	Fix               string   `yaml:"fix"`
}

// Error is a rule that cannot be used.
type Error struct {
	Pos diag.Pos
	Err error
}

// Error says where and why.
func (e *Error) Error() string { return e.Pos.String() + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// Parse reads a file of rules and compiles them. The first mistake is the error, an
// *Error with its place: a rule that is left out would be taken for one that holds.
func Parse(file string, data []byte) ([]Rule, error) {
	fail := func(line, col int, err error) error {
		return &Error{diag.Pos{File: file, Line: line, Col: col}, err}
	}
	if len(data) > maxFile {
		return nil, fail(1, 1, fmt.Errorf("the file has %d bytes, at most %d are read", len(data), maxFile))
	}
	var doc struct {
		Rules []yaml.Node `yaml:"rules"`
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields(), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return nil, fail(1, 1, err)
	}
	if err := loader.Load(&doc); err != nil {
		return nil, fail(1, 1, fmt.Errorf("read it as YAML with a list named rules: %w", err))
	}
	var more yaml.Node
	if err := loader.Load(&more); !errors.Is(err, io.EOF) {
		return nil, fail(1, 1, errors.New("a file of rules is one document"))
	}
	if len(doc.Rules) == 0 || len(doc.Rules) > maxRules {
		return nil, fail(1, 1, fmt.Errorf("there are %d rules: a file holds 1 to %d, in a list named rules", len(doc.Rules), maxRules))
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	var out []Rule
	for i := range doc.Rules {
		n := &doc.Rules[i]
		var w written
		if err := strict(n, &w); err != nil {
			return nil, fail(n.Line, n.Column, err)
		}
		r, err := w.compile(env)
		if err != nil {
			return nil, fail(n.Line, n.Column, fmt.Errorf("rule %s: %w", cmp.Or(w.Code, strconv.Itoa(i)), err))
		}
		if slices.ContainsFunc(out, func(o Rule) bool { return o.Code == r.Code }) {
			return nil, fail(n.Line, n.Column, fmt.Errorf("rule %s: the code is used twice", r.Code))
		}
		r.pos = diag.Pos{File: file, Line: n.Line, Col: n.Column}
		out = append(out, r)
	}
	return out, nil
}

// strict reads a rule and refuses fields that it does not have.
func strict(n *yaml.Node, w *written) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithKnownFields())
	if err != nil {
		return err
	}
	return yamlerror.Text(loader.Load(w))
}

func environment() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("object", cel.DynType), cel.Variable("namespaceObject", cel.DynType), cel.Variable("objects", cel.ListType(cel.DynType)),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.OptionalTypes(),
		ext.Strings(ext.StringsVersion(4)), ext.Sets(), ext.Lists(),
	)
}

var codeForm = regexp.MustCompile(`^[A-Z]{2,12}[0-9]{1,6}$`)

func (w *written) compile(env *cel.Env) (Rule, error) {
	r := Rule{Code: w.Code, Name: w.Name, kinds: w.Kinds, message: w.Message, field: w.Field, effect: w.Effect, fix: w.Fix}
	switch {
	case !codeForm.MatchString(w.Code):
		return r, fmt.Errorf("code %q is not letters and then digits, as in SHOP0001", w.Code)
	case strings.HasPrefix(w.Code, "IST") || strings.HasPrefix(w.Code, "MSH"):
		return r, fmt.Errorf("code %q begins with IST or MSH, which are not for users", w.Code)
	case len(w.Kinds) == 0:
		return r, errors.New(`kinds is missing: name kinds, or "*" for all`)
	case (w.Message == "") == (w.MessageExpression == ""):
		return r, errors.New("give either message or messageExpression")
	}
	switch w.Level {
	case "", "Warning":
		r.Level = diag.Warning
	case "Error":
		r.Level = diag.Error
	case "Info":
		r.Level = diag.Info
	default:
		return r, fmt.Errorf("level %q is none of Error, Warning, Info", w.Level)
	}
	var err error
	if r.expression, err = program(env, w.Expression, cel.BoolType); err != nil {
		return r, fmt.Errorf("expression: %w", err)
	}
	if w.MessageExpression != "" {
		if r.messageOf, err = program(env, w.MessageExpression, cel.StringType); err != nil {
			return r, fmt.Errorf("messageExpression: %w", err)
		}
	}
	return r, nil
}

// program compiles an expression of a type.
func program(env *cel.Env, text string, want *cel.Type) (cel.Program, error) {
	if strings.TrimSpace(text) == "" || len(text) > maxExpression {
		return nil, fmt.Errorf("it has %d characters: 1 to %d are allowed", len(text), maxExpression)
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, err
	}
	if t := ast.OutputType(); !t.IsExactType(want) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("it gives %s, not %s", t, want)
	}
	return env.Program(ast, cel.CostLimit(costOfOne), cel.InterruptCheckFrequency(checkEvery), cel.EvalOptions(cel.OptOptimize))
}
