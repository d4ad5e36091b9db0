// Command bookinfo runs one service of the Bookinfo sample.
package main

import (
	"os"

	"github.com/meshctl/meshctl/samples/bookinfo/app"
)

func main() {
	os.Exit(app.Main(os.Args[1:], os.Stdout, os.Stderr, os.Getenv))
}
