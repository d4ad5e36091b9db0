// Package codectest has what tests of the codecs share: a transport in memory
// and receivers which write down every event and every breach of the contract.
package codectest

import "slices"

// Pipe is a codec.Transport in memory. What is sent gathers in Out.
type Pipe struct {
	Out         []byte // sent and not yet taken
	Paused      bool   // reading is paused
	Pauses      int    // how often reading was paused
	Writes      int    // calls of Write
	WriteClosed bool   // CloseWrite was called
	Misused     bool   // PauseRead or ResumeRead were nested
}

// Buffer returns the bytes to be sent, with the room that a pooled buffer has.
func (p *Pipe) Buffer() *[]byte {
	p.Out = slices.Grow(p.Out, 8<<10)
	return &p.Out
}

// Write queues a copy of b.
func (p *Pipe) Write(b []byte) {
	p.Writes++
	p.Out = append(p.Out, b...)
}

// Buffered is the number of bytes not yet taken.
func (p *Pipe) Buffered() int { return len(p.Out) }

// PauseRead notes that reading is paused.
func (p *Pipe) PauseRead() {
	p.Misused = p.Misused || p.Paused
	p.Paused = true
	p.Pauses++
}

// ResumeRead notes that reading goes on.
func (p *Pipe) ResumeRead() {
	p.Misused = p.Misused || !p.Paused
	p.Paused = false
}

// CloseWrite notes the end of sending.
func (p *Pipe) CloseWrite() { p.WriteClosed = true }

// Take returns what was sent since the last call, as a copy.
func (p *Pipe) Take() []byte {
	b := append([]byte(nil), p.Out...)
	p.Out = p.Out[:0]
	return b
}
