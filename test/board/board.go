// Package board reads the boards that samples/addons gives to Grafana, for tests: what
// each panel asks Prometheus, and which metrics and labels that needs.
package board

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Query is one expression of a panel.
type Query struct {
	Panel string
	// Expr has the board's variables replaced by what matches everything.
	Expr string
	// Quiet: no data is an answer, too; the panel has words for it, or a threshold.
	Quiet bool
	// Needs are the labels that are read of each metric.
	Needs map[string][]string
}

// Read reads every board in a file of Kubernetes objects.
func Read(file string) ([]Query, error) {
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("read the boards: %w", err)
	}
	var out []Query
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var object struct {
			Kind string
			Data map[string]string
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		for name, data := range object.Data {
			if object.Kind != "ConfigMap" || !strings.HasSuffix(name, ".json") {
				continue
			}
			queries, err := queriesOf(data)
			if err != nil {
				return nil, fmt.Errorf("board %s of %s: %w", name, file, err)
			}
			out = append(out, queries...)
		}
	}
	return out, nil
}

func queriesOf(data string) ([]Query, error) {
	var board struct {
		Panels []struct {
			Title       string
			FieldConfig struct {
				Defaults struct{ NoValue string }
			}
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(data), &board); err != nil {
		return nil, err
	}
	var out []Query
	for _, p := range board.Panels {
		for _, t := range p.Targets {
			out = append(out, Query{
				Panel: p.Title, Expr: strings.ReplaceAll(t.Expr, "$namespace", ".*"), Needs: needs(t.Expr),
				Quiet: p.FieldConfig.Defaults.NoValue != "" || strings.HasSuffix(t.Expr, "> 0"),
			})
		}
	}
	return out, nil
}

// The parts of an expression that count here. Text and durations are taken out first.
var (
	noise    = regexp.MustCompile(`"(?:\\.|[^"\\])*"|\[[^\]]*\]`)
	grouping = regexp.MustCompile(`\bby\s*\(([^)]*)\)`)
	selector = regexp.MustCompile(`([a-zA-Z_:][\w:]*)\s*(\{[^}]*\}|\()?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
)

// needs finds the metrics of an expression. Labels that it groups by are needed of each
// of them.
func needs(expr string) map[string][]string {
	expr = noise.ReplaceAllString(expr, "")
	var groups []string
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			groups = append(groups, strings.TrimSpace(label))
		}
	}
	out := map[string][]string{}
	for _, s := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(expr, ""), -1) {
		name, rest := s[1], s[2]
		if rest == "(" || slices.Contains([]string{"sum", "count", "or", "and", "unless"}, name) {
			continue // functions, and operators between vectors
		}
		labels := slices.Concat(out[name], groups)
		for _, m := range matcher.FindAllStringSubmatch(rest, -1) {
			labels = append(labels, m[1])
		}
		slices.Sort(labels)
		out[name] = slices.Compact(labels)
	}
	return out
}

// sample is a line of Prometheus's text format.
var sample = regexp.MustCompile(`(?m)^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$`)

// Metrics are the labels of each metric in Prometheus's text format.
func Metrics(text string) map[string][]string {
	out := map[string][]string{}
	for _, s := range sample.FindAllStringSubmatch(text, -1) {
		labels := out[s[1]]
		for _, m := range matcher.FindAllStringSubmatch(noise.ReplaceAllString(s[2], ""), -1) {
			labels = append(labels, m[1])
		}
		slices.Sort(labels)
		out[s[1]] = slices.Compact(labels)
	}
	return out
}
