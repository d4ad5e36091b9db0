// Package effect says in words what a change of configuration does to requests:
// who answers, what times out, what is denied, which hosts there are.
//
//	effects, err := effect.Of(ctx, before, after, diff)   // two worlds, and what differs
//	reviews: 90% v1, 10% v3 (was 100% v1)
//
// The words come from the compiled configuration of one proxy of each group that
// differs in the same way, and, for policies, from asking that configuration about
// requests that its rules tell apart. Text of YAML is never looked at.
package effect
