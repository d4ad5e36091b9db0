// Command coredns is CoreDNS with no more plugins than a cluster for tests
// needs, so that it builds in a minute and not in ten.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order is the order in which they see a query.
	dnsserver.Directives = []string{"health", "ready", "errors", "cache", "template", "kubernetes"}
	coremain.Run()
}
