// Command meshd is the control plane: it serves configuration and certificates
// to proxies.
package main

import (
	"os"

	"github.com/meshctl/meshctl/internal/meshd"
)

func main() { os.Exit(meshd.Main(os.Args[1:], os.Stderr, os.Getenv)) }
