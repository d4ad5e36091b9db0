// Package engine runs connections on event-loop workers.
//
// A Worker is one goroutine that owns its connections, listening sockets and
// timers outright: nothing on the path of a byte takes a lock. It waits in the
// Go runtime's own poller (see netio.Poller), so it blocks no thread.
//
// All that a worker does, in the order of one turn:
//
//  1. wait for readiness, a Post or the next timer; not at all if work is left;
//  2. run what was posted from outside;
//  3. accept, connect and read what is ready: at most 64 events, and 256 KiB for
//     one connection, then it is the others' turn;
//  4. go on with connections that had more, or were resumed;
//  5. run timers that are due;
//  6. end the turn: hooks of EndOfTurn, TLS records and one write for each
//     connection that has something to send, then OnClose of those that ended.
//
// Every method of Worker (but Post), Conn and Timer belongs to the worker's
// goroutine. Code on another goroutine uses Post. No handler is ever called from
// inside a method it calls: what follows from a call comes later in the turn.
//
// A bulk transfer whose handler is a Relay is spliced: its bytes never come here.
//
// A handler's panic ends its connection, not the process.
package engine
