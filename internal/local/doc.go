// Package local runs a whole mesh on one Linux machine, as an ordinary user or
// as root: pods as processes in namespaces of their own, with sidecars.
//
// # Processes
//
//	up ──starts──▶ host-side process ──starts──▶ node (process 1 of its own namespaces)
//	                 │ the machine's real network    │ pods, sidecars, control plane,
//	                 │ published ports, egress       │ name server, control socket
//	                 └────── bridge (socket pair) ───┘
//
// When any of them dies, however it dies, the others end: the node is killed
// with the host-side process, everything in the node with the node. Files are
// in one directory (Paths), which the next up or down cleans.
//
// # What a program must do
//
// All three are the same executable. Its main must begin with
//
//	if code, handled := local.MaybeReexec(os.Args, hooks); handled {
//		os.Exit(code)
//	}
//
// before it parses flags or starts goroutines. hooks.Node is where the control
// plane is started; it runs inside the node. Programs that a pod runs as
// "self: NAME" (and the proxy, if Settings.Proxy says so) start the same
// executable with NAME as os.Args[0], which main must also look at.
//
// Then Start, Stop, List and Open are called from commands.
package local
