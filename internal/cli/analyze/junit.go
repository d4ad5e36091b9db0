package analyze

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/meshctl/meshctl/internal/diag"
)

// JUnit's XML, as CI systems read it: a test case for each finding.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Failure *junitMessage `xml:"failure"`
		Skipped *junitMessage `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes findings as test cases: those at or above the threshold failed,
// those below passed with output, what is not known was skipped. Nothing found is
// one case that passed.
func writeJUnit(w io.Writer, found []diag.Diagnostic, threshold diag.Severity) error {
	s := junitSuite{Name: "meshctl analyze"}
	for _, d := range found {
		c := junitCase{Name: printable(d.Code + " " + d.Object.String()), Class: d.Code, File: printable(d.Pos.File), Line: d.Pos.Line}
		text := printable(d.Error())
		if d.Effect != "" {
			text += "\neffect: " + printable(d.Effect)
		}
		if d.Fix != "" {
			text += "\nfix: " + printable(d.Fix)
		}
		switch {
		case d.Severity == diag.Unknown:
			c.Skipped = &junitMessage{Message: printable(d.Message)}
			s.Skipped++
		case d.Severity >= threshold:
			c.Failure = &junitMessage{Message: printable(d.Message), Type: d.Severity.String(), Text: text}
			s.Failures++
		default:
			c.Out = d.Severity.String() + ": " + text
		}
		s.Cases = append(s.Cases, c)
	}
	if len(s.Cases) == 0 {
		s.Cases = []junitCase{{Name: "nothing is wrong", Class: "meshctl"}}
	}
	s.Tests = len(s.Cases)
	b, err := xml.MarshalIndent(junitSuites{Tests: s.Tests, Failures: s.Failures, Suites: []junitSuite{s}}, "", "  ")
	if err != nil {
		return fmt.Errorf("print as JUnit XML: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	return err
}

// printable drops characters that XML cannot hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.IsControl(r) {
			return r
		}
		return -1
	}, s)
}
