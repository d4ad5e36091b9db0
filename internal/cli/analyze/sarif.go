package analyze

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/meshctl/meshctl/docs/diagnostics"
	"github.com/meshctl/meshctl/internal/analyze/baseline"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/version"
)

// The parts of SARIF 2.1.0 (OASIS) that findings need.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string     `json:"id"`
		Name    string     `json:"name,omitempty"`
		Short   *sarifText `json:"shortDescription,omitempty"`
		Help    *sarifText `json:"help,omitempty"`
		HelpURI string     `json:"helpUri,omitempty"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Kind         string            `json:"kind,omitempty"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations,omitempty"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

// writeSARIF writes findings as SARIF, which code scanning of forges reads.
func writeSARIF(w io.Writer, found []diag.Diagnostic) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "meshctl", Version: version.Version, InformationURI: "https://github.com/meshctl/meshctl", Rules: []sarifRule{}}
	index := map[string]int{}
	for _, d := range found {
		i, ok := index[d.Code]
		if !ok {
			i = len(run.Tool.Driver.Rules)
			index[d.Code] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(d.Code))
		}
		run.Results = append(run.Results, sarifResultOf(d, i))
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func sarifRuleOf(code string) sarifRule {
	r := sarifRule{ID: code}
	if p, ok := diagnostics.Lookup(code); ok {
		r.Name, r.HelpURI = p.Name, diagnostics.URL(code)
		r.Short = &sarifText{Text: p.Summary}
		r.Help = &sarifText{Text: "meshctl explain " + code, Markdown: p.Text}
	}
	return r
}

func sarifResultOf(d diag.Diagnostic, rule int) sarifResult {
	text := d.Message
	if d.Effect != "" {
		text += "\nEffect: " + d.Effect
	}
	if d.Fix != "" {
		text += "\nFix: " + d.Fix
	}
	sum := sha256.Sum256([]byte(baseline.Key(d)))
	r := sarifResult{
		RuleID: d.Code, RuleIndex: rule, Message: sarifText{Text: text},
		Fingerprints: map[string]string{"meshctl/v1": hex.EncodeToString(sum[:16])},
	}
	switch d.Severity {
	case diag.Error:
		r.Level = "error"
	case diag.Warning:
		r.Level = "warning"
	case diag.Unknown:
		r.Kind, r.Level = "open", "none" // what could not be decided
	default:
		r.Level = "note"
	}
	var at sarifLocation
	if d.Pos.File != "" {
		at.Physical = &sarifPhysical{}
		at.Physical.Artifact.URI = sarifURI(d.Pos.File)
		if d.Pos.Line > 0 {
			at.Physical.Region = &sarifRegion{d.Pos.Line, d.Pos.Col}
		}
	}
	if name := d.Object.String(); name != "" {
		if d.Field != "" {
			name += " " + d.Field
		}
		at.Logical = []sarifLogical{{name, "object"}}
	}
	if at.Physical != nil || at.Logical != nil {
		r.Locations = []sarifLocation{at}
	}
	return r
}

// sarifURI is a file's name as a relative URI; characters that a URI does not have
// are escaped.
func sarifURI(name string) string {
	var b strings.Builder
	for _, c := range []byte(filepath.ToSlash(filepath.Clean(name))) {
		if c == '/' || c == '.' || c == '-' || c == '_' || c == '~' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
