// Command meshctl is the command line of the mesh. Called by another name it is
// that program: see package multicall.
package main

import (
	"os"

	"github.com/meshctl/meshctl/internal/cli/multicall"
)

func main() { os.Exit(multicall.Main(os.Args)) }
