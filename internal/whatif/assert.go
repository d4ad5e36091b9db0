package whatif

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/meshctl/meshctl/internal/yamlerror"
)

// Suite is a file of assertions about a mesh:
//
//	tests:
//	- name: one request in ten for the new version
//	  request: {from: productpage, url: "http://reviews:9080/reviews/1"}
//	  expect:
//	    by: {reviews-v1: 90, reviews-v3: 10}
type Suite struct {
	File  string
	Tests []Test
}

// Test is one assertion.
type Test struct {
	Name    string
	Line    int
	Request Request
	Expect  Expectation
}

// Expectation is what must hold of an answer; what is not set is not looked at.
type Expectation struct {
	// Outcome is the kind that every outcome must have.
	Outcome Kind `yaml:"outcome"`
	Status  int  `yaml:"status"`
	// By are the workloads that answer, with their shares in percent.
	By        map[string]float64 `yaml:"by"`
	MTLS      *bool              `yaml:"mtls"`
	Path      string             `yaml:"path"`
	Authority string             `yaml:"authority"`
	Location  string             `yaml:"location"`
	Delay     string             `yaml:"delay"`
	// DecidedBy is an object, and if wanted a field, that decided anything on the
	// way: "VirtualService default/reviews spec.http[0]".
	DecidedBy string `yaml:"decidedBy"`
}

// limits of a suite: it is written by hand.
const (
	maxSuite = 4 << 20
	maxTests = 10_000
)

// testText is a test as written.
type testText struct {
	Name    string `yaml:"name"`
	Request struct {
		From      string            `yaml:"from"`
		Namespace string            `yaml:"namespace"`
		Gateway   string            `yaml:"gateway"`
		Client    string            `yaml:"client"`
		Method    string            `yaml:"method"`
		URL       string            `yaml:"url"`
		Headers   map[string]string `yaml:"headers"`
		Claims    map[string]any    `yaml:"claims"`
	} `yaml:"request"`
	Expect Expectation `yaml:"expect"`
}

// ParseSuite reads a file of assertions; errors name the line.
func ParseSuite(file string, r io.Reader) (*Suite, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSuite+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(data) > maxSuite {
		return nil, fmt.Errorf("%s is larger than %d bytes", file, maxSuite)
	}
	var text struct {
		Tests []yaml.Node `yaml:"tests"`
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&text); err != nil {
		return nil, fmt.Errorf("%s: %w", file, yamlerror.Text(err))
	}
	switch {
	case len(text.Tests) == 0:
		return nil, fmt.Errorf("%s: there are no tests in it", file)
	case len(text.Tests) > maxTests:
		return nil, fmt.Errorf("%s: more than %d tests", file, maxTests)
	}
	s := &Suite{File: file}
	for i := range text.Tests {
		t, err := parseTest(&text.Tests[i])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, text.Tests[i].Line, err)
		}
		if t.Name == "" {
			t.Name = fmt.Sprintf("test %d", i+1)
		}
		s.Tests = append(s.Tests, t)
	}
	return s, nil
}

func parseTest(n *yaml.Node) (Test, error) {
	// Decoding a node does not refuse unknown fields; decoding its text does.
	raw, err := yaml.Marshal(n)
	if err != nil {
		return Test{}, err
	}
	var t testText
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&t); err != nil {
		return Test{}, yamlerror.Text(err)
	}
	q := t.Request
	out := Test{Name: t.Name, Line: n.Line, Expect: t.Expect, Request: Request{
		From: q.From, Namespace: q.Namespace, Gateway: q.Gateway, Method: q.Method, URL: q.URL,
	}}
	for _, k := range slices.Sorted(maps.Keys(q.Headers)) {
		out.Request.Headers = append(out.Request.Headers, Header{k, q.Headers[k]})
	}
	if len(q.Claims) > 0 {
		// As JSON has them: a number is a number.
		raw, err := json.Marshal(q.Claims)
		if err != nil {
			return Test{}, fmt.Errorf("request.claims: %w", err)
		}
		out.Request.Token = &Token{}
		if err := json.Unmarshal(raw, &out.Request.Token.Claims); err != nil {
			return Test{}, fmt.Errorf("request.claims: %w", err)
		}
	}
	if q.Client != "" {
		if out.Request.Client, err = netip.ParseAddr(q.Client); err != nil {
			return Test{}, fmt.Errorf("request.client: %w", err)
		}
	}
	switch {
	case q.URL == "":
		return Test{}, errors.New("request.url is missing")
	case (q.From == "") == (q.Gateway == ""):
		return Test{}, errors.New("request needs one of from and gateway")
	case t.Expect.empty():
		return Test{}, errors.New("expect is empty: the test could not fail")
	}
	return out, nil
}

func (e Expectation) empty() bool {
	return e.Outcome == "" && e.Status == 0 && len(e.By) == 0 && e.MTLS == nil && e.Path == "" && e.Authority == "" &&
		e.Location == "" && e.Delay == "" && e.DecidedBy == ""
}

// Result is what became of one test.
type Result struct {
	Test     string   `json:"test"`
	At       string   `json:"at"` // file:line
	Passed   bool     `json:"passed"`
	Failures []string `json:"failures,omitempty"`
	Answer   *Answer  `json:"answer,omitempty"`
	Error    string   `json:"error,omitempty"` // the question makes no sense
}

// Run asks every question of a suite.
func (s *Suite) Run(ctx context.Context, w *World) []Result {
	out := make([]Result, len(s.Tests))
	for i, t := range s.Tests {
		r := Result{Test: t.Name, At: fmt.Sprintf("%s:%d", s.File, t.Line)}
		a, err := w.Ask(ctx, t.Request)
		if err != nil {
			r.Error = err.Error()
		} else {
			r.Answer, r.Failures = a, t.Expect.check(a)
			r.Passed = len(r.Failures) == 0
		}
		out[i] = r
	}
	return out
}

// tolerance of shares, in percent: weights are whole, endpoints may not divide them.
const tolerance = 0.1

// check says what does not hold, each in a sentence with the line that decided.
func (e Expectation) check(a *Answer) []string {
	var out []string
	wrong := func(o *Outcome, field, want, got string) {
		if want == "" || want == got {
			return
		}
		s := fmt.Sprintf("%s: want %s, got %s", field, want, cmp.Or(got, "nothing"))
		if share := percent(o.Share); o.Share < 100 {
			s += " for " + share + " of the requests"
		}
		if o.Reason != "" {
			s += ": " + o.Reason
		}
		if o.Decided != nil {
			s += "; decided by " + o.Decided.String()
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for i := range a.Outcomes {
		o := &a.Outcomes[i]
		wrong(o, "outcome", string(e.Outcome), string(o.Kind))
		if e.Status != 0 {
			wrong(o, "status", strconv.Itoa(e.Status), strconv.Itoa(o.Status))
		}
		if e.MTLS != nil {
			wrong(o, "mtls", strconv.FormatBool(*e.MTLS), strconv.FormatBool(o.MTLS))
		}
		wrong(o, "path", e.Path, o.Path)
		wrong(o, "authority", e.Authority, o.Authority)
		wrong(o, "location", e.Location, o.Location)
		wrong(o, "delay", e.Delay, o.Delay)
	}
	if len(e.By) > 0 {
		out = append(out, e.checkShares(a)...)
	}
	if e.DecidedBy != "" && !a.decidedBy(e.DecidedBy) {
		out = append(out, fmt.Sprintf("decidedBy: %s decided nothing on the way; what did: %s", e.DecidedBy, strings.Join(a.deciders(), ", ")))
	}
	return out
}

// checkShares compares who answers how many of the requests.
func (e Expectation) checkShares(a *Answer) []string {
	got := map[string]float64{}
	for _, o := range a.Outcomes {
		if o.Kind == Forwarded {
			got[o.By] += o.Share
		}
	}
	find := func(name string) (string, bool) {
		for by := range got {
			if by == name || strings.HasPrefix(by, name+".") {
				return by, true
			}
		}
		return "", false
	}
	ok, matched := true, map[string]bool{}
	for name, share := range e.By {
		by, found := find(name)
		matched[by] = found
		ok = ok && math.Abs(got[by]-share) <= tolerance && (found || share == 0)
	}
	for by := range got {
		ok = ok && matched[by]
	}
	if ok {
		return nil
	}
	var now []string
	for i := range a.Outcomes {
		o := &a.Outcomes[i]
		s := percent(o.Share) + " " + cmp.Or(o.By, string(o.Kind))
		if o.Kind != Forwarded {
			s = fmt.Sprintf("%s %s (%d)", percent(o.Share), o.Kind, o.Status)
			if o.Decided != nil {
				s += " by " + o.Decided.String()
			}
		}
		now = append(now, s)
	}
	want := make([]string, 0, len(e.By))
	for _, name := range slices.Sorted(maps.Keys(e.By)) {
		want = append(want, percent(e.By[name])+" "+name)
	}
	s := fmt.Sprintf("by: want %s, got %s", strings.Join(want, ", "), strings.Join(now, ", "))
	if d := a.deciders(); len(d) > 0 {
		s += "; on the way: " + strings.Join(d, ", ")
	}
	return []string{s}
}

// deciders are the lines that decided something, each once.
func (a *Answer) deciders() []string {
	var out []string
	for _, h := range a.Hops {
		for _, s := range h.Steps {
			if d := s.Decided.String(); d != "" && s.Decided.Kind != "Service" && !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

func (a *Answer) decidedBy(want string) bool {
	for _, d := range a.deciders() {
		if rest, ok := strings.CutPrefix(d, want); ok && (rest == "" || rest[0] == ' ' || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
