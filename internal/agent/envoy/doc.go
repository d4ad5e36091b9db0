// Package envoy is the other data plane of an agent: a stock Envoy, as a process
// of its own that the agent starts, configures and watches.
//
//		Envoy ──one Unix socket──▶ agent ──TLS, certificate or token──▶ control plane
//
//	 1. The agent writes a bootstrap (bootstrap.go) with nothing secret in it, and
//	    starts the program (process.go). Ended by itself it is started again after a
//	    growing pause; what it logs becomes lines of the agent's own log.
//	 2. Envoy asks for its configuration at the socket, and the agent passes requests
//	    and answers on as they are (xds.go): what Envoy refuses, the control plane
//	    learns from Envoy itself. On the way the agent takes the names of services
//	    out, for its DNS.
//	 3. At the same socket Envoy gets the workload's certificate and roots (secrets.go).
//	 4. Readiness, drain and metrics are asked of Envoy's admin interface (admin.go).
package envoy
