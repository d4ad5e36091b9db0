package engine

// Handler is told what happens on a connection. All calls come on the worker's
// goroutine, one at a time, never from inside a method of the same connection.
type Handler interface {
	// OnConnected tells that a dialed connection is up, with TLS if that was asked
	// for. It does not come for accepted connections.
	OnConnected()
	// OnData offers everything read and not yet used, and returns how many bytes it
	// used. The rest is kept and offered again in front of what comes next; b
	// itself is only lent. To leave bytes although more of them would not help,
	// call PauseRead: they are offered again after ResumeRead. Otherwise, using
	// nothing of a full buffer (SetMaxRead) ends the connection with ErrReadLimit.
	OnData(b []byte) (n int)
	// OnEOF tells that the peer has closed its sending half; no OnData follows, and
	// bytes that were left unused stay so, unless OnEOF hands the connection over:
	// the new handler is offered them and told in turn. We can still write. Once our half is
	// closed too (CloseWrite), the connection ends by itself.
	OnEOF()
	// OnWritable tells that Buffered fell to the low mark after it was above the high one.
	OnWritable()
	// OnClose is the last call, exactly one. err is nil if the connection ended in
	// order, or what Close was given, or what went wrong.
	OnClose(err error)
}
