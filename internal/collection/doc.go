// Package collection is the reactive engine: typed collections of immutable
// values, and derived collections that stay up to date by themselves.
//
// Immutable data: a value put into a collection, and every slice that a
// collection returns, is shared by all readers. Nobody may change it afterwards.
//
//	g := collection.NewGraph(collection.Options{})
//	services := collection.NewInput[*Service](g, "services")
//	endpoints := collection.NewInput[*Endpoint](g, "endpoints")
//	byService := collection.NewIndex(endpoints, "service", func(e *Endpoint) []string { return []string{e.Service} })
//	sets := collection.Derive(g, "endpoint-sets", services,
//		func(c *collection.Ctx, s *Service) (*Set, bool) {
//			return NewSet(s, collection.FetchIndex(c, byService, s.Name)), true
//		})
//	go g.Run(ctx)                    // or g.Flush(ctx) after each batch, without a goroutine
//
// How a change travels:
//
//  1. A writer calls Set, Delete, Replace or Update of an Input. The write goes
//     into a map of pending writes by key: it never blocks, a later write to
//     the same key replaces the earlier one, and memory is bounded by the keys.
//  2. A propagation takes all pending writes at once. It visits the nodes in the
//     order of their creation, which is a topological order because a node can
//     only read nodes made before it; no node ever sees half of a batch.
//  3. A derived node recomputes the input keys that changed and those whose
//     recorded fetches hit a changed key, index key or filter. An output equal
//     to the old one is dropped: nothing downstream hears of it.
//  4. The new state of all nodes is published under one lock, then subscribers
//     and hooks run.
//
// A transformation is a pure function of its input and of what it fetches
// through its Ctx; it must not call Get or List of a collection, nor keep the
// Ctx. If it panics, its key keeps the last good outputs, and the failure is
// logged and shown by Dump.
package collection
