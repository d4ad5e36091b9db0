// Package runtime is the node-side heart of a local mesh: it keeps what runs
// equal to what was asked for, and tells the control plane about it.
//
// One goroutine (Run) owns all decisions. It wakes when objects, pods or
// scaling change, and then, in this order:
//
//  1. decides with package controller which pods to start and stop;
//  2. publishes Pods, Services and EndpointSlices to the control plane;
//  3. writes names, virtual addresses and published ports to match.
//
// Everything it does is repeatable, so a missed or doubled wake-up does no harm.
package runtime
