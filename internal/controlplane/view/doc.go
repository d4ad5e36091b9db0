// Package view decides what each proxy may see, and keeps it serialised.
//
//	v := view.New(g, m)                   // m: the derived mesh
//	w, err := v.Join(sessionID, proxy)    // when a session opens
//	w.Current()                           // its snapshot, an xdsserve.Watch
//	w.Close()                             // when it ends
//
// How a resource comes about:
//
//  1. Sessions that must get the same answer are one Class. What classes share
//     on their outbound side is one Scope: namespace, Sidecar, dialect, labels that
//     routes look at, place.
//  2. A scope's Plan lists by key what it needs: which upstreams, virtual hosts,
//     names. It depends on the heads of objects (hosts, visibility), not on their content.
//  3. Each key stands for a Bundle: the serialised resources of one service, one
//     virtual host, one list of listeners. A key says everything that its bundle
//     depends on by name, so scopes that would get the same bytes share the bundle;
//     the content is fetched, and tracked, when it is built.
//  4. A publisher puts the bundles of a plan into Sets, and changes in a Set only
//     what changed in the bundles.
//
// A change of one VirtualService thus rebuilds the one bundle of its virtual
// host, and each scope that uses it swaps one resource.
package view
