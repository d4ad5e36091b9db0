// Package deps holds the tree to its layout: who may import whom, and that
// every package says what it is. It has only tests.
//
// An import that breaks a rule is a design question: usually a shared rule of
// the domain should move down, into the package that both sides may import. A
// rule changes together with docs/architecture.md.
package deps
