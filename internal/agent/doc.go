// Package agent is the helper half of a sidecar or gateway: it obtains and renews
// the workload's certificate, keeps the configuration stream to the control
// plane, answers DNS, tells when the proxy is ready, merges metrics, and drains
// on the way out. The data plane itself is package proxy.
//
// What happens in a sidecar's life, in order:
//
//  1. Settings are read from the environment, once (settings.go).
//  2. The certificate is asked for, and the xDS stream opened with it (run.go).
//  3. The first complete configuration makes the proxy ready: 15021 answers 200.
//  4. SIGTERM: readiness fails, connections drain, and after the drain time, or as
//     soon as nothing is left to do, the process ends (drain.go).
package agent
