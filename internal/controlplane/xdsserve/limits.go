package xdsserve

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits bound what a client can make the server do. A zero field means its default.
type Limits struct {
	// MaxRequestBytes bounds a request on the wire; default 8 MiB, which is
	// initial versions for some 80,000 resources.
	MaxRequestBytes int
	// MaxNames bounds the names in a request, and the names subscribed per type;
	// default 100,000.
	MaxNames int
	// MaxNameBytes bounds a name; default 2048.
	MaxNameBytes int
	// MaxTypes bounds the types of a session; default 32.
	MaxTypes int
	// MaxSessions bounds the open streams; default 20,000.
	MaxSessions int
	// RequestsPerSecond and Burst bound the requests of a session: beyond them
	// the session's stream is read more slowly. Defaults 100 and 1,000.
	RequestsPerSecond int
	Burst             int
	// MaxResponseBytes splits delta responses, at resource boundaries;
	// default 3 MiB, below the 4 MiB that gRPC clients accept by default.
	MaxResponseBytes int
	// FirstRequest is how long a stream may stay silent after it opened; default 20 s.
	FirstRequest time.Duration
	// SendTimeout is how long a client may refuse to read; default 30 s.
	SendTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.MaxRequestBytes, 8<<20)
	def(&l.MaxNames, 100_000)
	def(&l.MaxNameBytes, 2048)
	def(&l.MaxTypes, 32)
	def(&l.MaxSessions, 20_000)
	def(&l.RequestsPerSecond, 100)
	def(&l.Burst, 1000)
	def(&l.MaxResponseBytes, 3<<20)
	if l.FirstRequest <= 0 {
		l.FirstRequest = 20 * time.Second
	}
	if l.SendTimeout <= 0 {
		l.SendTimeout = 30 * time.Second
	}
	return l
}

// check looks at the bytes of a request before it is parsed: how many names it
// has and how long they are. It serves both requests, as field 3 holds names in
// both, and 4 and 5 do in the delta one (in the other they are a type URL and a
// nonce, which the same bounds suit).
func (l Limits) check(b []byte) error {
	if len(b) > l.MaxRequestBytes {
		return fmt.Errorf("discovery request of %d bytes exceeds the limit of %d", len(b), l.MaxRequestBytes)
	}
	names := 0
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("read discovery request: %w", protowire.ParseError(n))
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(num, typ, b)
		if size < 0 {
			return fmt.Errorf("read discovery request: %w", protowire.ParseError(size))
		}
		if num >= 3 && num <= 5 {
			if names++; names > l.MaxNames+2 {
				return fmt.Errorf("discovery request has more than %d resource names", l.MaxNames)
			}
			// A map entry has a name, a version of ours and a few bytes of frame.
			if size > l.MaxNameBytes+64 {
				return fmt.Errorf("discovery request has a resource name of %d bytes, the limit is %d", size, l.MaxNameBytes)
			}
		}
		b = b[size:]
	}
	return nil
}

// pace is a token bucket; wait is how long to hold the next request back.
type pace struct {
	every time.Duration
	burst time.Duration
	next  time.Time
}

func newPace(perSecond, burst int) pace {
	every := time.Second / time.Duration(perSecond)
	return pace{every: every, burst: every * time.Duration(burst)}
}

func (p *pace) wait(now time.Time) time.Duration {
	if floor := now.Add(-p.burst); p.next.Before(floor) {
		p.next = floor
	}
	p.next = p.next.Add(p.every)
	return max(0, p.next.Sub(now))
}
