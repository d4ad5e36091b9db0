// Package stats counts what happens in the proxy and shows it under the names of
// Istio (istio_requests_total ...) and of Envoy (cluster.x.upstream_rq_total ...).
//
//	reg := stats.New(stats.Options{Local: peer, Principal: id, ...})
//	reg.Add(stats.ClusterSource(...), ...)     // what others count
//	rec := reg.Worker()                        // one per worker
//	reg.WriteMetrics(w)                        // Prometheus text
//
// On the request path a worker finds, by a small key of pointers, the counters
// that belong to a request's labels; it shares them with nobody but the scrape,
// takes no lock and allocates nothing. Labels are made into text once, when a
// combination is first seen. The scrape adds the workers up.
//
// What is bounded: a worker keeps at most MaxSeries combinations, further ones
// are counted under labels that are all "other"; combinations that no request
// has used for IdleExpiry are forgotten.
package stats
