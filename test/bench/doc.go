// Command bench measures the native proxy against a stock Envoy that does equal
// work, and writes docs/benchmarks.md:
//
//		go run ./test/bench -out docs/benchmarks.md
//
//	 1. Both proxies are started on the same bootstrap (bootstrap.go), pinned to one
//	    processor; the backend and the load generator share the other. All of them are
//	    processes of their own: this program again, called with a role (role.go).
//	 2. A checker sends the same requests through both and compares what reaches the
//	    backend and what comes back (check.go). A difference ends the run.
//	 3. Every operating point (points.go) is measured in rounds, one proxy right after
//	    the other, in alternating order. The generator (load.go) reads the proxy's
//	    processor time at both ends of its window and counts the answers between.
//	 4. Memory is measured in fresh processes (memory.go), the profiles in a process
//	    of this program that runs the same proxy (profile.go), the control plane by its
//	    own benchmark (controlplane.go).
//	 5. report.go writes medians, ratios of pairs with their confidence intervals, and
//	    the targets of the design.
//
// Every process is ended by its number, and ends by itself when this one is gone.
package main
