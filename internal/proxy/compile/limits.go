package compile

// Limits on what a control plane may send. They are far above what a mesh of
// ten thousand services needs and keep a mistake from taking the proxy down.
const (
	maxResourceBytes = 32 << 20 // one resource
	maxDepth         = 64       // nesting of messages and expressions
	maxRegexBytes    = 8 << 10  // text of a regular expression
	maxRegexOps      = 20_000   // instructions of its program
	maxRoutes        = 50_000   // per virtual host
	maxDomains       = 10_000   // per virtual host
	maxHosts         = 200_000  // per route table
	maxChains        = 20_000   // per listener
	maxEndpoints     = 100_000  // per cluster
	maxFormatBytes   = 64 << 10
	maxDirectBody    = 1 << 20 // bytes of a direct response, as Istio's limit
	maxPEMBytes      = 4 << 20
	maxMemo          = 1 << 16 // entries of each table of shared values
)
