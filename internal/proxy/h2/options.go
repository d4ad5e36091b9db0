package h2

import "time"

// Options are what a connection needs besides codec.Limits. The zero value works.
type Options struct {
	// Pool is the memory shared by the connections of one worker. Nil makes one
	// for this connection alone.
	Pool *Pool
	// Stats counts what happened, shared by the connections of one worker. Nil
	// counts for this connection alone.
	Stats *Stats
	// Now is a monotonic clock in nanoseconds, used to bound what a peer may do
	// per second. It is called rarely. Nil means the system's clock.
	Now func() int64
	// ConnectProtocol allows extended CONNECT (RFC 8441). Servers only.
	ConnectProtocol bool
	// MaxFrameSize is the largest frame accepted, in bytes: 16384 (the default)
	// to 1<<24-1.
	MaxFrameSize int
	// HeaderTableSize is the dynamic table offered to the peer's encoder, in
	// bytes; default 4096. Negative means none.
	HeaderTableSize int
}

func (o Options) withDefaults() Options {
	if o.Pool == nil {
		o.Pool = NewPool()
	}
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	if o.Now == nil {
		start := time.Now()
		o.Now = func() int64 { return int64(time.Since(start)) }
	}
	if o.MaxFrameSize < defaultFrameSize {
		o.MaxFrameSize = defaultFrameSize
	}
	o.MaxFrameSize = min(o.MaxFrameSize, maxFrameSize)
	switch {
	case o.HeaderTableSize == 0:
		o.HeaderTableSize = 4096
	case o.HeaderTableSize < 0:
		o.HeaderTableSize = 0
	}
	o.HeaderTableSize = min(o.HeaderTableSize, 64<<10)
	return o
}
