// Package bookinfo carries the manifests of the Bookinfo sample, so that a
// meshctl binary can run the sample without a checkout of this repository. The
// program itself is in the package app.
package bookinfo

import (
	"embed"
	"io/fs"
)

//go:embed README.md meshctl-local.yaml platform networking gateway-api
var files embed.FS

// FS returns the sample's folder: meshctl-local.yaml, platform/, networking/ and
// gateway-api/, read-only.
func FS() fs.FS { return files }
