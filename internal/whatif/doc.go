// Package whatif answers what a request would get, and which line decided, without
// sending one: the real derivation, the real generated configuration, compiled by
// the real compiler, and the matchers that proxies run, for each proxy on the way.
//
//	w, err := whatif.New(ctx, whatif.Input{Objects: objects})
//	a, err := w.Ask(ctx, whatif.Request{From: "productpage-v1", URL: "http://reviews:9080/reviews/1"})
//	for _, o := range a.Outcomes { … }   // 90 % reviews-v1, 10 % reviews-v3
//
// How an answer comes about:
//
//  1. populate makes the pods, addresses and endpoints that the objects' workloads
//     would have, unless the objects hold pods already (a running mesh's do);
//  2. the control plane derives from them what each proxy would be sent (Preview);
//  3. the proxy's compiler turns that into a snapshot;
//  4. the client side is walked: name, listener, chain, route, faults, targets,
//     endpoints, transport;
//  5. for each workload that an endpoint leads to, the server side: listener, chain,
//     policies, route.
//
// Chance is not drawn: every branch that a request may take is an outcome with its
// share.
package whatif
