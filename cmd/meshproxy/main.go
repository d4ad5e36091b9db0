// Command meshproxy is the sidecar and gateway: agent and data plane in one
// process, configured by its environment.
package main

import (
	"os"

	"github.com/meshctl/meshctl/internal/agent"
	"github.com/meshctl/meshctl/internal/version"
)

func main() { os.Exit(agent.Main(os.Args[1:], version.Get())) }
