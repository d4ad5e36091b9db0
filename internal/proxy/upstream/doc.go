// Package upstream finds, opens and keeps connections to endpoints: one Manager
// per worker, with what all workers must agree on (active requests of a host,
// circuit breakers, ejections) in Shared as atomics.
//
//  1. Manager.Update takes up a new snapshot; hosts keep their identity.
//  2. Manager.Open picks a host by the cluster's policy, takes a pooled
//     connection or dials one, and hands over a codec.Stream.
//  3. Manager.Finish reports how it went: active counts, outlier detection.
//  4. Connections return to their pool by themselves when their stream has ended.
package upstream
