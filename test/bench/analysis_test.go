package main

import (
	"strings"
	"testing"
)

// TestAnalysisSection: measured by itself it takes the place of the one before, and
// nothing else changes.
func TestAnalysisSection(t *testing.T) {
	t.Parallel()
	const report = "# Benchmarks\n\n## Control plane\n\ntext\n\n## How it is measured, and how far to trust it\n\nmore\n"
	once := withSection(report, analysisSection([]analysisRun{{objects: 3000, cpu: 1}}))
	if !strings.Contains(once, "| 3000 |") || strings.Index(once, "## Analysis") > strings.Index(once, "## How it is measured") {
		t.Fatal(once)
	}
	twice := withSection(once, analysisSection([]analysisRun{{objects: 6000, cpu: 1}}))
	if strings.Contains(twice, "| 3000 |") || !strings.Contains(twice, "| 6000 |") {
		t.Fatal(twice)
	}
	before, rest, _ := strings.Cut(twice, analysisBegin)
	_, after, _ := strings.Cut(rest, analysisEnd)
	if before+after != report {
		t.Errorf("the rest has changed: %q", before+after)
	}
}
