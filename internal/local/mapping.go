package local

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/image"
)

// mapping is the folder's mapping file as it was read last.
type mapping struct {
	path     string // "" without a folder
	data     []byte // nil: there is no file
	file     *image.File
	resolver image.Resolver
	findings []diag.Diagnostic
	// followed are the resources that the mesh began with.
	followed []string
}

// mappingInterval is how often the file is looked at: people write it while they
// wait for a workload to start.
const mappingInterval = time.Second

// mapping reads the mapping file of the mesh's folder.
func (n *nodeProcess) mapping() mapping {
	m := mapping{file: &image.File{}}
	if folder := n.hello.Settings.Folder; folder != "" {
		m.path = filepath.Join(folder, image.FileName)
		m = m.read()
		m.followed = m.file.Resources
	}
	m.resolver = image.Resolver{File: m.file, Folder: n.hello.Settings.Folder, Build: func(ctx context.Context, dir string) (string, error) {
		out, err := n.bridge.Call(ctx, callBuild, []byte(dir))
		return string(out), err
	}}
	if exe, err := os.Executable(); err == nil {
		m.resolver.Beside = filepath.Dir(exe)
	}
	return m
}

// read is m with what the file says now. A file that is broken leaves what was
// good in force.
func (m mapping) read() mapping {
	next := m
	data, err := os.ReadFile(m.path)
	switch {
	case err == nil && m.data != nil && bytes.Equal(data, m.data) && len(m.findings) == 0:
		return m
	case errors.Is(err, os.ErrNotExist):
		next.data, next.file, next.findings = nil, &image.File{}, nil
	case err != nil:
		next.findings = []diag.Diagnostic{{
			Code: image.CodeFile, Severity: diag.Error, Pos: diag.Pos{File: m.path}, Message: err.Error(),
			Effect: "no other image is mapped to a program than before", Fix: "make the file readable",
		}}
	default:
		file, findings := image.Parse(m.path, data)
		next.data, next.findings = data, findings
		if worst, any := diag.Worst(findings); !any || worst < diag.Error || m.data == nil {
			next.file = file
		}
	}
	if m.resolver.File != nil && !slices.Equal(next.file.Resources, m.followed) {
		next.findings = append(next.findings, diag.Diagnostic{
			Code: image.CodeFile, Severity: diag.Info, Pos: diag.Pos{File: m.path}, Field: "resources",
			Message: "the list of files changed after the mesh began", Effect: "the files named at the start are still followed",
			Fix: "meshctl down, then meshctl up",
		})
	}
	next.resolver.File = next.file
	return next
}

// followMapping takes up changes of the mapping file until ctx ends.
func (n *nodeProcess) followMapping(ctx context.Context, m mapping) {
	if m.path == "" {
		return
	}
	tick := time.NewTicker(mappingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := m.read()
		if bytes.Equal(next.data, m.data) && (next.data == nil) == (m.data == nil) && slices.Equal(next.findings, m.findings) {
			continue
		}
		m = next
		n.log.InfoContext(ctx, "mapping of images changed", "file", m.path)
		n.runtime.SetImages(m.resolver, m.findings)
	}
}
