// Package gatewayapi says what the objects of the Kubernetes Gateway API mean, and
// those of Ingress: it turns them into the values that the mesh is derived of
// already, and into the status that each of them should have.
//
//  1. Of a Gateway and its ListenerSets come Listeners: each is a mesh.Gateway with
//     one server, or the reason against it.
//  2. Of a route come Rules, and the Parents that it asked for: listeners that let
//     it in, Services whose callers it routes, or the reason against it. Each match
//     of a rule is a rule of its own, since matches of all routes compete.
//  3. For each host of a listener, and for each Service, the rules of all routes
//     there are put in the order of precedence: one mesh.VirtualService, in which
//     every rule names the object and field that it comes from.
//
// Everything is a pure function of objects; what else a function needs it asks of
// a World, so that whoever calls knows what the result depends on.
//
// Nothing that is refused is half in force: a listener whose references are not
// good is not opened, a rule that asks for something that is not built answers
// 500, and both say so in their conditions and in findings.
package gatewayapi
