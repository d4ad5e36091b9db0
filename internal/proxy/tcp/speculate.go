package tcp

// attach takes the client's connection over.
func (r *relay) attach() {
	r.down.SetHandler(&r.client)
	r.down.PauseRead()
}

// mine reports whether the client's connection is ours to act on, and asks for it
// if it is not yet.
func (r *relay) mine() bool {
	if r.spoke == nil {
		return true
	}
	if !r.spoke() {
		return false
	}
	r.spoke = nil
	r.attach()
	return true
}

// hold stops reading an endpoint that speaks while the client's connection is not
// ours. Otherwise, if it has just become ours, both directions go.
func (r *relay) hold() bool {
	if r.spoke == nil {
		return false
	}
	if !r.mine() {
		r.up.PauseRead()
		return true
	}
	r.run()
	return false
}

// commit ends speculation: the connection made, or what became of it, counts.
func (r *relay) commit() {
	if r.spoke == nil || r.done {
		return
	}
	r.spoke = nil
	r.attach()
	switch {
	case r.over:
		r.down.Close(nil)
	case r.connected:
		r.run()
	}
}

// forget ends speculation without a trace.
func (r *relay) forget() {
	if r.spoke == nil || r.done {
		return
	}
	r.spoke, r.done, r.over = nil, true, true
	r.idle.Stop()
	r.life.Stop()
	r.p.remove(r)
	if r.up != nil {
		r.up.Close(nil)
	}
}
